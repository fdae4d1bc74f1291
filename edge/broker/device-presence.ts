/**
 * Which devices are here, on disk: when the gateway dies, nobody says that its devices are gone with it. Those that are not back
 * some time after the next start are said to be OFFLINE then.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import type { DeviceAddress } from './command-outlet.ts'
import type { DeviceDirectory } from './device-directory.ts'
import type { SessionChange } from './persistence/session-tables.ts'

/** A device that left is on disk for one to two of these: until its OFFLINE is there, and not rewritten when it flaps. */
const SETTLE_MS = 10_000

export interface DevicePresenceOptions {
  readonly journal: { append(change: SessionChange): void }
  readonly directory: DeviceDirectory
  /** After a start, how long devices have to return, milliseconds. */
  readonly graceMs: number
  readonly clock: Clock
}

export class DevicePresence {
  private readonly options: DevicePresenceOptions
  /** What is on disk. */
  private readonly stored = new Set<string>()
  /** Those of the run before that were not seen in this one. */
  private readonly missing = new Map<string, DeviceAddress>()
  private leaving = new Map<string, DeviceAddress>()
  private left = new Map<string, DeviceAddress>()
  private timers: Timer[] = []

  constructor(options: DevicePresenceOptions) {
    this.options = options
  }

  /** @param present what the run before left on disk. */
  start(present: readonly DeviceAddress[]): void {
    const { clock, graceMs } = this.options
    for (const { siteId, serialNumber } of present) {
      const key = keyOf({ siteId, serialNumber })
      this.stored.add(key)
      this.missing.set(key, { siteId, serialNumber })
    }
    this.timers = [clock.every(SETTLE_MS, () => this.settle())]
    if (this.missing.size > 0) this.timers.push(clock.after(graceMs, () => this.giveUpMissing()))
  }

  /** The gateway stops, its devices do not: those that are here stay on disk. */
  stop(): void {
    for (const timer of this.timers) timer.cancel()
    this.settle()
    this.settle()
  }

  arrived(device: DeviceAddress): void {
    const key = keyOf(device)
    this.missing.delete(key)
    this.leaving.delete(key)
    this.left.delete(key)
    if (this.stored.has(key)) return
    this.stored.add(key)
    this.options.journal.append({ kind: 'present', ...addressOf(device) })
  }

  /** What its leaving means was said. */
  departed(device: DeviceAddress): void {
    this.leaving.set(keyOf(device), addressOf(device))
  }

  private giveUpMissing(): void {
    const { directory } = this.options
    for (const device of this.missing.values()) {
      directory.happened(directory.meet(device.siteId, device.serialNumber), { kind: 'missing' })
      this.departed(device)
    }
    this.missing.clear()
  }

  private settle(): void {
    for (const [key, device] of this.left) {
      this.stored.delete(key)
      this.options.journal.append({ kind: 'absent', ...device })
    }
    this.left = this.leaving
    this.leaving = new Map()
  }
}

function keyOf({ siteId, serialNumber }: DeviceAddress): string {
  return `${siteId}/${serialNumber}`
}

/** Callers hand over records that hold more. */
function addressOf({ siteId, serialNumber }: DeviceAddress): DeviceAddress {
  return { siteId, serialNumber }
}
