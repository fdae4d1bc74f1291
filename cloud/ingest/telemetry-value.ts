/** The value of a `device-telemetry` record, spliced around the reading as the device wrote it. */

import { eventTime, isoFormatter } from './event-time.ts'
import { isRejection, memberRemover, parseJsonObject, type Rejection } from './json-object.ts'

/** What a device's values carry of the registry. */
export interface TelemetryDevice {
  readonly deviceId: number
  readonly serialNumber: string
  readonly siteId: number
  readonly deviceType: string
}

export interface TelemetryValue {
  readonly value: string
  /** The device's timestamp when it is not used. */
  readonly refusedTimestamp: string | null
}

/** The beginning of every value of a device, up to its readings. */
export function telemetryPrefix({ deviceId, serialNumber, siteId, deviceType }: TelemetryDevice): string {
  const identity = JSON.stringify({
    deviceId,
    serialNumber,
    siteId,
    deviceType,
  })
  return `${identity.slice(0, -1)},"telemetryData":`
}

const withoutTimestamp = memberRemover('timestamp')
const iso = isoFormatter()

/** The value of one reading, or why the payload is none. @param prefix from `telemetryPrefix`. */
export function telemetryValue(
  prefix: string,
  payload: Buffer,
  receivedAtMs: number,
  futureToleranceMs: number,
): TelemetryValue | Rejection {
  const parsed = parseJsonObject(payload)
  if (isRejection(parsed)) return parsed
  const { timestamp } = parsed.fields
  const time = eventTime(timestamp, receivedAtMs, futureToleranceMs)
  const readings = timestamp === undefined ? parsed.text : withoutTimestamp(parsed.text)
  const value = `${prefix}${readings},"timestamp":"${iso(time.ms)}","eventType":"DEVICE_TELEMETRY"}`
  return { value, refusedTimestamp: time.refused }
}
