/** Records of `device-telemetry` and `device-status` as ingest publishes them. */

import type { BusRecord } from '../../cloud/bus/bus.ts'

export interface ReadingRecord {
  readonly deviceId: number
  readonly siteId?: number
  readonly fields: Readonly<Record<string, unknown>>
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  readonly receivedAtMs?: number
  /** Of the gateway's spool. Default: none, as of another producer's record. */
  readonly seq?: number
}

export function readingRecord(reading: ReadingRecord): BusRecord {
  const { deviceId, siteId = 1, fields, atMs, receivedAtMs = atMs, seq } = reading
  const serialNumber = `INV-${deviceId}`
  const value = {
    deviceId,
    serialNumber,
    siteId,
    deviceType: 'SOLAR_INVERTER',
    telemetryData: fields,
    timestamp: new Date(atMs).toISOString(),
    eventType: 'DEVICE_TELEMETRY',
  }
  return {
    key: serialNumber,
    value: JSON.stringify(value),
    headers: {
      receivedAt: new Date(receivedAtMs).toISOString(),
      ...(seq !== undefined && { gateway: 'gateway-1', lane: 'telemetry', seq: String(seq) }),
    },
  }
}

export function statusRecord(deviceId: number, newStatus: string, atMs: number, reason?: string): BusRecord {
  const serialNumber = `INV-${deviceId}`
  const timestamp = new Date(atMs).toISOString()
  const value = {
    deviceId,
    serialNumber,
    siteId: 1,
    previousStatus: null,
    newStatus,
    timestamp,
    eventType: 'DEVICE_STATUS_CHANGE',
  }
  return { key: serialNumber, value: JSON.stringify(reason === undefined ? value : { ...value, reason }) }
}
