/** A device and its latest values as the API shows and takes them. */

import { Type } from '@sinclair/typebox'
import { DEVICE_STATUSES, DEVICE_TYPE_PATTERN, DEVICE_TYPES } from '../../registry/device.ts'
import type { Device } from '../../registry/device-store.ts'
import {
  closed,
  DeviceIdSchema,
  GatewayIdSchema,
  NameSchema,
  nullable,
  SerialNumberSchema,
  SiteIdSchema,
  TimeSchema,
  time,
  timeOrNull,
} from './common.ts'

export const DeviceTypeSchema = Type.String({
  pattern: DEVICE_TYPE_PATTERN.source,
  description: `1 to 32 capital letters, digits and "_", beginning with a letter, such as ${DEVICE_TYPES.join(', ')}`,
})

export const DeviceStatusSchema = Type.Union(DEVICE_STATUSES.map((status) => Type.Literal(status)))

const SilentAfterSchema = Type.Integer({
  minimum: 0,
  maximum: 2_592_000,
  description: 'Seconds without a word after which it counts as OFFLINE; 0 for never, null for what the server has set',
})

export const DeviceSchema = Type.Object(
  {
    id: DeviceIdSchema,
    siteId: SiteIdSchema,
    serialNumber: SerialNumberSchema,
    deviceType: DeviceTypeSchema,
    name: nullable(NameSchema),
    gatewayId: nullable(GatewayIdSchema),
    status: nullable(DeviceStatusSchema),
    statusAt: nullable(TimeSchema),
    statusReason: nullable(Type.String()),
    silentAfterSeconds: nullable(SilentAfterSchema),
    silentSince: nullable({
      ...TimeSchema,
      description: 'While it is OFFLINE because nothing was heard of it: when it was last heard',
    }),
    createdAt: TimeSchema,
    updatedAt: TimeSchema,
  },
  { ...closed, $id: 'Device', description: 'A device of a site; status is null until it has reported one' },
)

export const NewDeviceSchema = Type.Object(
  {
    siteId: SiteIdSchema,
    serialNumber: SerialNumberSchema,
    deviceType: Type.Optional(DeviceTypeSchema),
    name: Type.Optional(nullable(NameSchema)),
    silentAfterSeconds: Type.Optional(nullable(SilentAfterSchema)),
  },
  { ...closed, $id: 'NewDevice', description: 'Without a type it gets that of its serial number, otherwise UNKNOWN' },
)

export const DeviceChangesSchema = Type.Object(
  {
    deviceType: Type.Optional(DeviceTypeSchema),
    name: Type.Optional(nullable(NameSchema)),
    silentAfterSeconds: Type.Optional(nullable(SilentAfterSchema)),
  },
  { ...closed, minProperties: 1, $id: 'DeviceChanges' },
)

/** A body as the registry takes it. */
export function deviceSettings<Body extends { readonly silentAfterSeconds?: number | null }>({
  silentAfterSeconds: seconds,
  ...others
}: Body) {
  return { ...others, ...(seconds === undefined ? {} : { silentAfterMs: seconds === null ? null : seconds * 1000 }) }
}

export const LatestSchema = Type.Object(
  {
    deviceId: DeviceIdSchema,
    siteId: SiteIdSchema,
    serialNumber: SerialNumberSchema,
    eventAt: nullable(TimeSchema),
    receivedAt: nullable(TimeSchema),
    values: Type.Record(Type.String(), Type.Object({ value: Type.Unknown(), at: TimeSchema }, closed), {
      description: 'The latest value of every reading, each with the time it was taken',
    }),
  },
  {
    ...closed,
    $id: 'Latest',
    description: 'eventAt: latest time of any value; receivedAt: when the gateway got it; null before the first',
  },
)

export function deviceBody(device: Device) {
  return {
    id: device.id,
    siteId: device.siteId,
    serialNumber: device.serialNumber,
    deviceType: device.deviceType,
    name: device.name,
    gatewayId: device.gatewayId,
    status: device.status,
    statusAt: timeOrNull(device.statusAtMs),
    statusReason: device.statusReason,
    silentAfterSeconds: device.silentAfterMs === null ? null : device.silentAfterMs / 1000,
    silentSince: timeOrNull(device.silentSinceMs),
    createdAt: time(device.createdAtMs),
    updatedAt: time(device.updatedAtMs),
  }
}
