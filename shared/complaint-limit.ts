/** What keeps failing is told of once in a while: a dependency that is away for days must not fill the log. */

import type { Clock } from './clock.ts'

const PERIOD_MS = 60_000

export class ComplaintLimit {
  private readonly clock: Clock
  private readonly periodMs: number
  private complainedAtMs = Number.NEGATIVE_INFINITY

  /** @param periodMs between two complaints, of monotonic time. Default one minute. */
  constructor(clock: Clock, periodMs = PERIOD_MS) {
    this.clock = clock
    this.periodMs = periodMs
  }

  /** True when it is time to complain, which whoever asks does then. */
  isDue(): boolean {
    const nowMs = this.clock.monotonicMs()
    if (nowMs - this.complainedAtMs < this.periodMs) return false
    this.complainedAtMs = nowMs
    return true
  }
}
