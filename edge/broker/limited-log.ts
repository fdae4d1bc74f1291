/** Warnings that clients can cause: a broken device that reconnects for ever must not fill the disk with logs. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'

const WINDOW_MS = 60_000
const WARNINGS_PER_WINDOW = 20

/** Passes on at most 20 warnings a minute of each reason; the next one that passes says how many were left out. */
export class LimitedLog {
  private readonly windows = new Map<string, { since: number; passed: number; omitted: number }>()
  private readonly clock: Clock
  private readonly log: Logger

  constructor(clock: Clock, log: Logger) {
    this.clock = clock
    this.log = log
  }

  /** @param reason one of a small fixed set. */
  warn(reason: string, fields: Record<string, unknown>, message: string): void {
    const now = this.clock.monotonicMs()
    let window = this.windows.get(reason)
    if (window === undefined || now - window.since >= WINDOW_MS) {
      const omitted = window?.omitted ?? 0
      window = { since: now, passed: 0, omitted: 0 }
      this.windows.set(reason, window)
      if (omitted > 0) this.log.warn({ reason, omitted }, 'similar warnings were left out')
    }
    if (window.passed >= WARNINGS_PER_WINDOW) {
      window.omitted++
      return
    }
    window.passed++
    this.log.warn({ reason, ...fields }, message)
  }
}
