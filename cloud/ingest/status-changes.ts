/** Which status reports are changes, in the order in which they came. */

import type { BusRecord } from '../bus/bus.ts'
import type { DeviceStatus, StatusChange } from '../registry/device.ts'
import type { PendingStatus } from './batch.ts'
import { STATUS_BEFORE_FIRST, statusValue } from './status-value.ts'

export interface StatusChanges {
  /** For `device-status`. */
  readonly records: readonly BusRecord[]
  /** For the registry, in the step that stores the cursor: until then a redelivery makes the same records again. */
  readonly changes: readonly StatusChange[]
  readonly unchanged: number
}

export function statusChanges(reports: readonly PendingStatus[]): StatusChanges {
  const records: BusRecord[] = []
  const changes: StatusChange[] = []
  const current = new Map<number, { status: DeviceStatus | null; atMs: number }>()
  for (const { device, report, headers } of reports) {
    const { deviceId } = device
    const known = current.get(deviceId) ?? {
      status: device.status,
      atMs: device.statusAtMs ?? 0,
    }
    if (known.status === report.status) continue
    const previous = known.status ?? STATUS_BEFORE_FIRST
    // A first report that says OFFLINE is news to the registry only.
    if (previous !== report.status) {
      records.push({ key: device.serialNumber, value: statusValue(device, previous, report), headers })
    }
    // The order of arrival is the order of events, whatever a device's clock says: the registry ignores older times.
    const atMs = Math.max(known.atMs, report.time.ms)
    changes.push({
      deviceId,
      status: report.status,
      atMs,
      reason: report.reason,
    })
    current.set(deviceId, { status: report.status, atMs })
  }
  return { records, changes, unchanged: reports.length - records.length }
}
