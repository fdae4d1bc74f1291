/** What a record of `device-status` says: a change, and what it was before. device-event.ts reads it. */

import type { DeviceKey, DeviceStatus } from './device.ts'

/** A change of a device's status, for everybody. */
export interface StatusRecord extends DeviceKey {
  readonly deviceId: number
  readonly previous: DeviceStatus
  readonly status: DeviceStatus
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  readonly reason: string
}

/** The JSON value of the record. */
export function statusRecordValue(change: StatusRecord): string {
  return JSON.stringify({
    deviceId: change.deviceId,
    serialNumber: change.serialNumber,
    siteId: change.siteId,
    previousStatus: change.previous,
    newStatus: change.status,
    timestamp: new Date(change.atMs).toISOString(),
    eventType: 'DEVICE_STATUS_CHANGE',
    reason: change.reason,
  })
}
