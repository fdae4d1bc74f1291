import { expect, test } from 'vitest'
import type { PendingStatus } from '../../../cloud/ingest/batch.ts'
import { statusChanges } from '../../../cloud/ingest/status-changes.ts'

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
  statusChanges(reports).records.map(({ value }) => (JSON.parse(value as string) as { newStatus: string }).newStatus)

test('only changes become events, those within one batch included', () => {
  expect(newStatuses([pending('ONLINE', 'ONLINE')])).toEqual([])
  expect(newStatuses([pending('ONLINE', null), pending('ONLINE', null), pending('OFFLINE', null)])).toEqual([
    'ONLINE',
    'OFFLINE',
  ])
})

test('a first report that says OFFLINE is no change, and the registry learns it', () => {
  const { records, changes } = statusChanges([pending('OFFLINE', null)])
  expect(records).toEqual([])
  expect(changes).toMatchObject([{ deviceId: 1, status: 'OFFLINE' }])
})
