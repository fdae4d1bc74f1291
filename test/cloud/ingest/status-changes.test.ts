import { expect, test } from 'vitest'
import type { PendingStatus } from '../../../cloud/ingest/batch.ts'
import { SavedStatuses, statusChanges } from '../../../cloud/ingest/status-changes.ts'

const pending = (status: 'ONLINE' | 'OFFLINE', known: 'ONLINE' | 'OFFLINE' | null): PendingStatus => ({
  device: {
    deviceId: 1,
    serialNumber: 'INV-001',
    siteId: 1,
    deviceType: 'SOLAR_INVERTER',
    status: known,
    statusAtMs: known === null ? null : 0,
  },
  report: { status, reason: 'because', time: { ms: 5, refused: null } },
  headers: {},
})
const newStatuses = (reports: PendingStatus[]) =>
  statusChanges(reports, new SavedStatuses()).records.map(
    ({ value }) => (JSON.parse(value as string) as { newStatus: string }).newStatus,
  )

test('only changes become events, those within one batch included', () => {
  expect(newStatuses([pending('ONLINE', 'ONLINE')])).toEqual([])
  expect(newStatuses([pending('ONLINE', null), pending('ONLINE', null), pending('OFFLINE', null)])).toEqual([
    'ONLINE',
    'OFFLINE',
  ])
})

test('a first report that says OFFLINE is no change, and the registry learns it', () => {
  const { records, changes } = statusChanges([pending('OFFLINE', null)], new SavedStatuses())
  expect(records).toEqual([])
  expect(changes).toMatchObject([{ deviceId: 1, status: 'OFFLINE' }])
})

test('what the stream saved counts, unless the registry has something newer', () => {
  const saved = new SavedStatuses()
  saved.save([{ deviceId: 1, status: 'OFFLINE', atMs: 3 }])
  const stale = pending('ONLINE', 'ONLINE')
  expect(statusChanges([stale], saved).changes).toMatchObject([{ status: 'ONLINE', atMs: 5 }])
  const newer = { ...stale, device: { ...stale.device, statusAtMs: 4 } }
  expect(statusChanges([newer], saved).changes).toEqual([])
})

test('of many devices only those saved last are remembered', () => {
  const saved = new SavedStatuses()
  for (let deviceId = 1; deviceId <= 10_001; deviceId++) saved.save([{ deviceId, status: 'OFFLINE', atMs: 3 }])
  const { device } = pending('ONLINE', 'ONLINE')
  expect(saved.statusOf(device).status).toBe('ONLINE')
  expect(saved.statusOf({ ...device, deviceId: 2 }).status).toBe('OFFLINE')
})
