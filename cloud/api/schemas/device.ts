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
  },
  { ...closed, $id: 'NewDevice', description: 'Without a type it gets that of its serial number, otherwise UNKNOWN' },
)

export const DeviceChangesSchema = Type.Object(
  { deviceType: Type.Optional(DeviceTypeSchema), name: Type.Optional(nullable(NameSchema)) },
  { ...closed, minProperties: 1, $id: 'DeviceChanges' },
)

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
    createdAt: time(device.createdAtMs),
    updatedAt: time(device.updatedAtMs),
  }
}
