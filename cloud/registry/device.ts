/** What a device is: its identity, its type, its status. */

import type { InvalidField } from './errors.ts'

export const DEVICE_STATUSES = ['ONLINE', 'OFFLINE', 'MAINTENANCE', 'ERROR'] as const
export type DeviceStatus = (typeof DEVICE_STATUSES)[number]

/** The types known to the console; any other name of the pattern is as good. */
export const DEVICE_TYPES = [
  'SOLAR_INVERTER',
  'METER',
  'BATTERY',
  'TRANSFORMER',
  'BREAKER',
  'EV_CHARGER',
  'SENSOR',
  'UNKNOWN',
] as const
export const DEVICE_TYPE_PATTERN = /^[A-Z][A-Z0-9_]{0,31}$/

/** Where a device is found: serial numbers are unique within a site. */
export interface DeviceKey {
  readonly siteId: number
  readonly serialNumber: string
}

/**
 * A device as ingest knows it. The same object is handed out for as long as its identity and type stay the same, so
 * what is derived from them may be kept by it; its status changes in place.
 */
export interface RegisteredDevice extends DeviceKey {
  readonly deviceId: number
  readonly deviceType: string
  /** Null until the first status arrives. */
  readonly status: DeviceStatus | null
  /** Event time of `status`, Unix milliseconds. */
  readonly statusAtMs: number | null
}

export interface StatusChange {
  readonly deviceId: number
  readonly status: DeviceStatus
  /** Event time, Unix milliseconds; a change older than the one known is ignored. */
  readonly atMs: number
  readonly reason?: string | null
}

/**
 * Which of two statuses of one event time holds: the one written later, for who sees them in the order of arrival, or
 * the one stored, for who reads them again behind it.
 */
export type StatusTies = 'replace' | 'keep'

/** The type of the longest prefix that `serialNumber` begins with, otherwise UNKNOWN. */
export function deviceTypeOf(serialNumber: string, prefixes: Readonly<Record<string, string>>): string {
  let longest = ''
  for (const prefix of Object.keys(prefixes)) {
    if (prefix.length > longest.length && serialNumber.startsWith(prefix)) longest = prefix
  }
  return prefixes[longest] ?? 'UNKNOWN'
}

/** The last change of each device, by event time, ascending by device. */
export function latestChanges(changes: readonly StatusChange[]): StatusChange[] {
  const latest = new Map<number, StatusChange>()
  for (const change of changes) {
    const known = latest.get(change.deviceId)
    if (known === undefined || known.atMs <= change.atMs) latest.set(change.deviceId, change)
  }
  return [...latest.values()].sort((a, b) => a.deviceId - b.deviceId)
}

export function invalidDeviceType(deviceType: string): InvalidField[] {
  if (DEVICE_TYPE_PATTERN.test(deviceType)) return []
  const remedy = `1 to 32 capital letters, digits and "_", beginning with a letter, such as ${DEVICE_TYPES.join(', ')}`
  return [{ field: 'deviceType', value: deviceType, remedy }]
}
