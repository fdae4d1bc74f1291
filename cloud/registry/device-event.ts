/** The values of `device-telemetry` and `device-status`, read and checked: for every consumer of those topics. */

import { isObject } from '../../shared/json-object.ts'
import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import { DEVICE_STATUSES, type DeviceStatus } from './device.ts'

/** The gateway of what the cloud says of a device by itself, such as that it is silent. No gateway can have this name. */
export const CLOUD_GATEWAY = '$cloud'

/** Device and site ids are 32-bit in the database. */
const ID_MAX = 2 ** 31 - 1
/** Sequences stand in 53 bits. */
const SEQ_PATTERN = /^(0|[1-9][0-9]{0,15})$/

/** What every record of a device has. */
export interface DeviceEvent {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  /**
   * Of the gateway's spool; with the gateway it names the record for ever. Below zero, made of its place on the bus, for a
   * record without one.
   */
  readonly seq: number
  readonly gatewayId: string | null
  /** When the gateway received it, Unix milliseconds of the gateway's clock; without its word, when the bus did. */
  readonly receivedAtMs: number
  /** When the bus took it in, Unix milliseconds. */
  readonly busAtMs: number
  /** It was stored before the gateway's present connection. */
  readonly backfill: boolean
  /** It was a dead letter, put on the bus again. */
  readonly replayed: boolean
}

export interface Reading extends DeviceEvent {
  readonly deviceType: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface StatusEvent extends DeviceEvent {
  readonly previous: DeviceStatus | null
  readonly status: DeviceStatus
  readonly reason: string | null
}

/** Why nothing can be made of a record, in one sentence. */
export interface UnusableEvent {
  readonly unusable: 'RECORD_UNUSABLE'
  readonly message: string
}

export function readReading(record: ConsumedRecord): Reading | UnusableEvent {
  const value = readObject(record)
  if (typeof value === 'string') return unusable(value)
  const event = deviceEvent(record, value)
  if (typeof event === 'string') return unusable(event)
  const { telemetryData, deviceType } = value
  if (!isObject(telemetryData)) return unusable('telemetryData is no object')
  return { ...event, deviceType: typeof deviceType === 'string' ? deviceType : 'UNKNOWN', fields: telemetryData }
}

export function readStatusEvent(record: ConsumedRecord): StatusEvent | UnusableEvent {
  const value = readObject(record)
  if (typeof value === 'string') return unusable(value)
  const event = deviceEvent(record, value)
  if (typeof event === 'string') return unusable(event)
  const { previousStatus, newStatus, reason } = value
  if (!isStatus(newStatus)) return unusable(`newStatus is none of ${DEVICE_STATUSES.join(', ')}`)
  const previous = isStatus(previousStatus) ? previousStatus : null
  return { ...event, previous, status: newStatus, reason: typeof reason === 'string' ? reason : null }
}

function deviceEvent(record: ConsumedRecord, value: Readonly<Record<string, unknown>>): DeviceEvent | string {
  const { deviceId, siteId, serialNumber, timestamp } = value
  const atMs = typeof timestamp === 'string' ? Date.parse(timestamp) : Number.NaN
  if (!Number.isFinite(atMs)) return 'timestamp is no RFC 3339 time'
  if (!isId(deviceId)) return 'deviceId is no positive 32-bit integer'
  if (!isId(siteId)) return 'siteId is no positive 32-bit integer'
  if (typeof serialNumber !== 'string' || !SERIAL_NUMBER_PATTERN.test(serialNumber)) {
    return 'serialNumber is no serial number'
  }
  const { headers, timestampMs } = record
  return {
    deviceId,
    siteId,
    serialNumber,
    atMs,
    seq: seqOf(record),
    gatewayId: headers.gateway ?? null,
    receivedAtMs: receivedAtMs(record),
    busAtMs: timestampMs,
    backfill: headers.backfill === 'true',
    replayed: headers.replayOf !== undefined,
  }
}

/** A record of another producer has no sequence; its place on the bus stays the same when it is delivered again. */
function seqOf({ headers, partition, offset }: ConsumedRecord): number {
  const { seq } = headers
  if (seq !== undefined && SEQ_PATTERN.test(seq)) {
    const number = Number(seq)
    if (Number.isSafeInteger(number)) return number
  }
  // 2^40 offsets in each of 2^12 partitions.
  return -1 - Number((BigInt(partition & 0xfff) << 40n) | (offset & 0xff_ffff_ffffn))
}

/** The header `receivedAt`, as RFC 3339 or as milliseconds. */
function receivedAtMs(record: ConsumedRecord): number {
  const header = record.headers.receivedAt
  if (header === undefined) return record.timestampMs
  const ms = /^[0-9]+$/.test(header) ? Number(header) : Date.parse(header)
  return Number.isSafeInteger(ms) ? ms : record.timestampMs
}

/** The object, or why there is none. */
function readObject(record: ConsumedRecord): Readonly<Record<string, unknown>> | string {
  let value: unknown
  try {
    value = JSON.parse(record.value.toString('utf8'))
  } catch {
    return 'the value is not JSON'
  }
  return isObject(value) ? value : 'the value is no JSON object'
}

function unusable(message: string): UnusableEvent {
  return { unusable: 'RECORD_UNUSABLE', message }
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= ID_MAX
}

function isStatus(value: unknown): value is DeviceStatus {
  return DEVICE_STATUSES.includes(value as DeviceStatus)
}
