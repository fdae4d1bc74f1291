/** Which status reports are changes, in the order in which they came. */

import type { BusRecord } from '../bus/bus.ts'
import type { StatusChange } from '../registry/device.ts'
import type { StoredStatus } from '../registry/device-status-store.ts'
import type { PendingStatus } from './batch.ts'
import { STATUS_BEFORE_FIRST, statusValue } from './status-value.ts'

export interface StatusChanges {
  /** For `device-status`. */
  readonly records: readonly BusRecord[]
  /** For the registry, in the step that stores the cursor: until then a redelivery makes the same records again. */
  readonly changes: readonly StatusChange[]
  /** Devices that said again what is known, for the registry: they are there. */
  readonly repeated: readonly number[]
  readonly unchanged: number
}

/** That a device says its status again is noted once in this long, milliseconds. */
const REPEATED_PERIOD_MS = 60_000

/** @param stored what the database has now: another core, or the watch over silent devices, may have written it. */
export function statusChanges(
  reports: readonly PendingStatus[],
  stored: ReadonlyMap<number, StoredStatus>,
  nowMs: number,
): StatusChanges {
  const records: BusRecord[] = []
  const changes: StatusChange[] = []
  const repeated = new Set<number>()
  const current = new Map<number, StoredStatus>()
  for (const { device, report, headers } of reports) {
    const { deviceId } = device
    const known = current.get(deviceId) ?? stored.get(deviceId) ?? { ...device, repeatedAtMs: null }
    if (known.status === report.status) {
      const isLive = headers['backfill'] === undefined
      if (isLive && nowMs - (known.repeatedAtMs ?? 0) >= REPEATED_PERIOD_MS) repeated.add(deviceId)
      continue
    }
    const previous = known.status ?? STATUS_BEFORE_FIRST
    // A first report that says OFFLINE is news to the registry only.
    if (previous !== report.status) {
      records.push({ key: device.serialNumber, value: statusValue(device, previous, report), headers })
    }
    // The order of arrival is the order of events, whatever a device's clock says: the registry ignores older times.
    const atMs = Math.max(known.statusAtMs ?? 0, report.time.ms)
    changes.push({ deviceId, status: report.status, atMs, reason: report.reason })
    current.set(deviceId, { ...known, status: report.status, statusAtMs: atMs })
  }
  return { records, changes, repeated: [...repeated], unchanged: reports.length - records.length }
}
