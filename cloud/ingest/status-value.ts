/** The value of a `device-status` record: a change, and what it was before. */

import { DEVICE_STATUSES, type DeviceStatus } from '../registry/device.ts'
import { statusRecordValue } from '../registry/status-record.ts'
import { type EventTime, eventTime } from './event-time.ts'
import { isRejection, parseJsonObject, type Rejection } from './json-object.ts'
import type { TelemetryDevice } from './telemetry-value.ts'

/** What a device that was never heard of is taken to have been. */
export const STATUS_BEFORE_FIRST: DeviceStatus = 'OFFLINE'

export interface StatusReport {
  readonly status: DeviceStatus
  readonly reason: string
  readonly time: EventTime
}

/** What a status payload reports, or why it is none. */
export function readStatus(payload: Buffer, receivedAtMs: number, futureToleranceMs: number): StatusReport | Rejection {
  const parsed = parseJsonObject(payload)
  if (isRejection(parsed)) return parsed
  const status = DEVICE_STATUSES.find((each) => each === parsed.fields['status'])
  if (status === undefined) {
    return {
      code: 'BAD_STATUS',
      message: `"status" must be one of ${DEVICE_STATUSES.join(', ')}`,
    }
  }
  const { reason, timestamp } = parsed.fields
  return {
    status,
    reason: typeof reason === 'string' && reason !== '' ? reason : `Device reported ${status}`,
    time: eventTime(timestamp, receivedAtMs, futureToleranceMs),
  }
}

export function statusValue(device: TelemetryDevice, previousStatus: DeviceStatus, report: StatusReport): string {
  const { status, reason, time } = report
  return statusRecordValue({ ...device, previous: previousStatus, status, atMs: time.ms, reason })
}
