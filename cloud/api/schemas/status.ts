/** Histories of statuses, availability and outages as the API shows them. */

import { Type } from '@sinclair/typebox'
import type { Device } from '../../registry/device-store.ts'
import { type Availability, type GatewayOutage, SHARED_STATUSES, type StatusHistoryEntry } from '../../status/status.ts'
import {
  closed,
  DeviceIdSchema,
  GatewayIdSchema,
  nullable,
  SerialNumberSchema,
  TimeSchema,
  time,
  timeOrNull,
} from './common.ts'
import { DeviceStatusSchema } from './device.ts'

const Milliseconds = Type.Integer({ minimum: 0, description: 'Milliseconds' })

export const StatusChangeSchema = Type.Object(
  {
    at: TimeSchema,
    previousStatus: nullable(DeviceStatusSchema),
    newStatus: DeviceStatusSchema,
    reason: nullable(Type.String()),
    gatewayId: nullable(
      Type.String({ description: '$cloud for what the cloud found, such as that a device is silent' }),
    ),
    backfill: Type.Boolean({ description: 'It had been stored in the gateway before it came' }),
  },
  { ...closed, $id: 'StatusChange', description: 'A change of the status of a device, at its event time' },
)

const StatusShareSchema = Type.Object(
  { ms: Milliseconds, share: Type.Number({ minimum: 0, maximum: 1, description: 'Of the whole range' }) },
  closed,
)

export const AvailabilitySchema = Type.Object(
  {
    deviceId: DeviceIdSchema,
    serialNumber: SerialNumberSchema,
    from: TimeSchema,
    to: TimeSchema,
    totalMs: Milliseconds,
    statuses: Type.Object(Object.fromEntries(SHARED_STATUSES.map((status) => [status, StatusShareSchema])), {
      ...closed,
      description: 'Time in each status; UNKNOWN before the first one that is known',
    }),
    changes: Type.Integer({ minimum: 0, description: 'From one known status to another' }),
    longestOutageMs: Type.Integer({
      minimum: 0,
      description: 'The longest time without a break that it was OFFLINE or in ERROR, milliseconds',
    }),
    availability: nullable(
      Type.Number({
        minimum: 0,
        maximum: 1,
        description: 'ONLINE / (total − MAINTENANCE − UNKNOWN); null when there is nothing but those two',
      }),
    ),
  },
  {
    ...closed,
    $id: 'Availability',
    description: 'In which status a device was for how long; maintenance does not count',
  },
)

export const OutageSchema = Type.Object(
  {
    gatewayId: GatewayIdSchema,
    since: { ...TimeSchema, description: 'When it was last heard of' },
    noticedAt: { ...TimeSchema, description: 'When people were told' },
    endedAt: nullable({ ...TimeSchema, description: 'When it was connected again; null while it lasts' }),
    durationMs: nullable(Milliseconds),
  },
  { ...closed, $id: 'Outage', description: 'A gateway was offline for longer than status.gatewayOfflineAfterMs' },
)

export function statusChangeBody(entry: StatusHistoryEntry) {
  const { atMs, previous, status, reason, gatewayId, backfill } = entry
  return { at: time(atMs), previousStatus: previous, newStatus: status, reason, gatewayId, backfill }
}

export function availabilityBody(device: Device, found: Availability) {
  const { fromMs, toMs, ms, changes, longestOutageMs, availability } = found
  const totalMs = toMs - fromMs
  return {
    deviceId: device.id,
    serialNumber: device.serialNumber,
    from: time(fromMs),
    to: time(toMs),
    totalMs,
    statuses: Object.fromEntries(
      SHARED_STATUSES.map((status) => [status, { ms: ms[status], share: ms[status] / totalMs }]),
    ),
    changes,
    longestOutageMs,
    availability,
  }
}

export function outageBody({ gatewayId, sinceMs, noticedAtMs, endedAtMs }: GatewayOutage) {
  return {
    gatewayId,
    since: time(sinceMs),
    noticedAt: time(noticedAtMs),
    endedAt: timeOrNull(endedAtMs),
    durationMs: endedAtMs === null ? null : endedAtMs - sinceMs,
  }
}
