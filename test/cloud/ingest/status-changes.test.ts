import { expect, test } from 'vitest'
import type { PendingStatus } from '../../../cloud/ingest/batch.ts'
import { statusChanges } from '../../../cloud/ingest/status-changes.ts'
import type { DeviceStatus } from '../../../cloud/registry/device.ts'
import type { StoredStatus } from '../../../cloud/registry/device-status-store.ts'

const NOW_MS = 1_000_000

const pending = (
  status: DeviceStatus,
  known: DeviceStatus | null = null,
  headers: Record<string, string> = {},
): PendingStatus => ({
  device: {
    deviceId: 1,
    serialNumber: 'INV-001',
    siteId: 1,
    deviceType: 'SOLAR_INVERTER',
    status: known,
    statusAtMs: known === null ? null : 0,
  },
  report: { status, reason: 'because', time: { ms: 5, refused: null } },
  headers,
})
const stored = (status: DeviceStatus | null, statusAtMs = 0, repeatedAtMs: number | null = null) =>
  new Map<number, StoredStatus>([[1, { status, statusAtMs, repeatedAtMs }]])
const judge = (reports: PendingStatus[], known = stored(null)) => statusChanges(reports, known, NOW_MS)
const newStatuses = (reports: PendingStatus[], known = stored(null)) =>
  judge(reports, known).records.map(({ value }) => {
    const { previousStatus, newStatus } = JSON.parse(value as string) as Record<string, string>
    return `${previousStatus} ${newStatus}`
  })

test('only changes become events, those within one batch included', () => {
  expect(newStatuses([pending('ONLINE')], stored('ONLINE'))).toEqual([])
  expect(newStatuses([pending('ONLINE'), pending('ONLINE'), pending('OFFLINE')])).toEqual([
    'OFFLINE ONLINE',
    'ONLINE OFFLINE',
  ])
})

test('a first report that says OFFLINE is no change, and the registry learns it', () => {
  const { records, changes } = judge([pending('OFFLINE')])
  expect(records).toEqual([])
  expect(changes).toMatchObject([{ deviceId: 1, status: 'OFFLINE' }])
})

test('what the database has counts, whatever was in memory when the report came', () => {
  expect(newStatuses([pending('ONLINE', 'ONLINE')], stored('OFFLINE'))).toEqual(['OFFLINE ONLINE'])
  expect(newStatuses([pending('ONLINE', 'OFFLINE')], stored('ONLINE'))).toEqual([])
  expect(newStatuses([pending('ONLINE', 'ERROR')], new Map())).toEqual(['ERROR ONLINE'])
})

test('a change is never older than the status that it follows', () => {
  expect(judge([pending('ONLINE')], stored('OFFLINE', 9)).changes).toMatchObject([{ status: 'ONLINE', atMs: 9 }])
})

test('that a device says its status again is told once a minute, and not of what waited in the gateway', () => {
  const minuteAgo = NOW_MS - 60_000
  expect(judge([pending('ONLINE'), pending('ONLINE')], stored('ONLINE')).repeated).toEqual([1])
  expect(judge([pending('ONLINE')], stored('ONLINE', 0, minuteAgo)).repeated).toEqual([1])
  expect(judge([pending('ONLINE')], stored('ONLINE', 0, minuteAgo + 1)).repeated).toEqual([])
  expect(judge([pending('ONLINE', null, { backfill: 'true' })], stored('ONLINE')).repeated).toEqual([])
  expect(judge([pending('OFFLINE')], stored('ONLINE')).repeated).toEqual([])
})
