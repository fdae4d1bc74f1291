/** Which status reports are changes, in the order in which they came. */

import type { BusRecord } from '../bus/bus.ts'
import type { RegisteredDevice, StatusChange } from '../registry/device.ts'
import type { PendingStatus } from './batch.ts'
import { STATUS_BEFORE_FIRST, statusValue } from './status-value.ts'

export interface StatusChanges {
  /** For `device-status`. */
  readonly records: readonly BusRecord[]
  /** For the registry, in the step that stores the cursor: until then a redelivery makes the same records again. */
  readonly changes: readonly StatusChange[]
  readonly unchanged: number
}

type KnownStatus = Pick<RegisteredDevice, 'status' | 'statusAtMs'>

/** Devices of one stream whose saved status is remembered, about 100 bytes each. */
const SAVED_MAX = 10_000

/**
 * What a stream last saved of its devices. Reports wait with the device as the registry gave it at the time, and the registry
 * may have replaced it since, by one read before the save: so what was saved counts unless the device has something newer.
 */
export class SavedStatuses {
  private readonly saved = new Map<number, StatusChange>()

  /** To be called once `changes` are durable. At the limit what was saved longest ago is forgotten. */
  save(changes: readonly StatusChange[]): void {
    for (const change of changes) {
      this.saved.delete(change.deviceId)
      this.saved.set(change.deviceId, change)
    }
    for (const deviceId of this.saved.keys()) {
      if (this.saved.size <= SAVED_MAX) break
      this.saved.delete(deviceId)
    }
  }

  statusOf({ deviceId, status, statusAtMs }: RegisteredDevice): KnownStatus {
    const saved = this.saved.get(deviceId)
    if (saved === undefined || (statusAtMs ?? -1) > saved.atMs) return { status, statusAtMs }
    return { status: saved.status, statusAtMs: saved.atMs }
  }
}

/** @param saved what the stream saved of earlier batches. */
export function statusChanges(reports: readonly PendingStatus[], saved: SavedStatuses): StatusChanges {
  const records: BusRecord[] = []
  const changes: StatusChange[] = []
  const current = new Map<number, KnownStatus>()
  for (const { device, report, headers } of reports) {
    const { deviceId } = device
    const known = current.get(deviceId) ?? saved.statusOf(device)
    if (known.status === report.status) continue
    const previous = known.status ?? STATUS_BEFORE_FIRST
    // A first report that says OFFLINE is news to the registry only.
    if (previous !== report.status) {
      records.push({ key: device.serialNumber, value: statusValue(device, previous, report), headers })
    }
    // The order of arrival is the order of events, whatever a device's clock says: the registry ignores older times.
    const atMs = Math.max(known.statusAtMs ?? 0, report.time.ms)
    changes.push({ deviceId, status: report.status, atMs, reason: report.reason })
    current.set(deviceId, { status: report.status, statusAtMs: atMs })
  }
  return { records, changes, unchanged: reports.length - records.length }
}
