/** The values of `device-telemetry` and `device-status`, read and checked. */

import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import { DEVICE_STATUSES, type DeviceStatus, type StatusChange } from '../registry/device.ts'

/** Device ids are 32-bit in the database. */
const DEVICE_ID_MAX = 2 ** 31 - 1

export interface Reading {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly fields: Readonly<Record<string, unknown>>
  /** Event time, Unix milliseconds. */
  readonly atMs: number
}

/** Why nothing can be made of a record, in one sentence. */
export interface Unusable {
  readonly unusable: string
}

export function readReading(record: ConsumedRecord): Reading | Unusable {
  const event = readObject(record)
  if ('unusable' in event) return event
  const { deviceId, siteId, serialNumber, telemetryData } = event.fields
  if (!isId(deviceId)) return { unusable: 'deviceId is no positive 32-bit integer' }
  if (!isId(siteId)) return { unusable: 'siteId is no positive 32-bit integer' }
  if (typeof serialNumber !== 'string' || !SERIAL_NUMBER_PATTERN.test(serialNumber)) {
    return { unusable: 'serialNumber is no serial number' }
  }
  if (!isObject(telemetryData)) return { unusable: 'telemetryData is no object' }
  return { deviceId, siteId, serialNumber, fields: telemetryData, atMs: event.atMs }
}

export function readStatusChange(record: ConsumedRecord): StatusChange | Unusable {
  const event = readObject(record)
  if ('unusable' in event) return event
  const { deviceId, newStatus, reason } = event.fields
  if (!isId(deviceId)) return { unusable: 'deviceId is no positive 32-bit integer' }
  if (!isStatus(newStatus)) return { unusable: `newStatus is none of ${DEVICE_STATUSES.join(', ')}` }
  return { deviceId, status: newStatus, atMs: event.atMs, reason: typeof reason === 'string' ? reason : null }
}

/**
 * When the gateway received the reading, Unix milliseconds: the header `receivedAt`, as RFC 3339 or as milliseconds;
 * without it, when the bus took the record in.
 */
export function receivedAtMs(record: ConsumedRecord): number {
  const header = record.headers.receivedAt
  if (header === undefined) return record.timestampMs
  const ms = /^[0-9]+$/.test(header) ? Number(header) : Date.parse(header)
  return Number.isSafeInteger(ms) ? ms : record.timestampMs
}

function readObject(record: ConsumedRecord): { fields: Record<string, unknown>; atMs: number } | Unusable {
  let event: unknown
  try {
    event = JSON.parse(record.value.toString('utf8'))
  } catch {
    return { unusable: 'the value is not JSON' }
  }
  if (!isObject(event)) return { unusable: 'the value is no JSON object' }
  const atMs = typeof event.timestamp === 'string' ? Date.parse(event.timestamp) : Number.NaN
  if (!Number.isFinite(atMs)) return { unusable: 'timestamp is no RFC 3339 time' }
  return { fields: event, atMs }
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= DEVICE_ID_MAX
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isStatus(value: unknown): value is DeviceStatus {
  return DEVICE_STATUSES.includes(value as DeviceStatus)
}
