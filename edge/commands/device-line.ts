/** The line of a device: its commands in the order of arrival, of which one at a time is under way. */

import type { CommandRoute, DeviceAddress } from '../broker/command-outlet.ts'
import type { CommandLife, Terms } from './life-state.ts'

/** A command that is not finished. Its payload stays on disk until it goes out. */
export interface OpenEntry extends Terms {
  readonly position: number
  readonly commandId: string
  readonly line: DeviceLine
  life: CommandLife
  /** Counts what was put on disk, so that only the latest moves the life on. */
  step: number
}

export class DeviceLine {
  readonly device: DeviceAddress
  /** Null while the device cannot take commands. */
  route: CommandRoute | null = null
  /** The one under way, or the next. */
  current: OpenEntry | null = null
  /** Behind it; a set, since one that expires or is cancelled leaves from the middle. */
  readonly waiting = new Set<OpenEntry>()
  /** The line is being moved on, further up the stack. */
  advancing = false

  constructor(device: DeviceAddress) {
    this.device = device
  }

  get isIdle(): boolean {
    return this.route === null && this.current === null && this.waiting.size === 0
  }

  /** The one whose turn it is; null when nothing waits. */
  head(): OpenEntry | null {
    if (this.current === null) {
      for (const first of this.waiting) {
        this.waiting.delete(first)
        this.current = first
        break
      }
    }
    return this.current
  }

  leave(entry: OpenEntry): void {
    this.waiting.delete(entry)
    if (this.current === entry) this.current = null
  }
}
