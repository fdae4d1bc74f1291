/** When the spool looks after itself: every second, and again at once while there is something to merge. */

import type { Clock, Timer } from '../../shared/clock.ts'
import { COMPACT_AFTER_MS, TEND_PERIOD_MS } from './limits.ts'

/** Does one step; `finished` is called once, with true when compaction has more to do. */
export type TendStep = (compact: boolean, finished: (more: boolean) => void) => void

export class Upkeep {
  private readonly clock: Clock
  private readonly step: TendStep
  private timer: Timer | null = null
  private isTending = false
  private lastDrainMs = 0

  constructor(clock: Clock, step: TendStep) {
    this.clock = clock
    this.step = step
  }

  start(): void {
    this.drained()
    this.timer = this.clock.every(TEND_PERIOD_MS, () => this.tend())
  }

  stop(): void {
    this.timer?.cancel()
    this.timer = null
  }

  /** The backlog is being drained: what is on its way to the cloud is not merged. */
  drained(): void {
    this.lastDrainMs = this.clock.monotonicMs()
  }

  private tend(): void {
    if (this.isTending || this.timer === null) return
    this.isTending = true
    this.step(this.clock.monotonicMs() - this.lastDrainMs >= COMPACT_AFTER_MS, (more) => {
      this.isTending = false
      if (more) setImmediate(() => this.tend())
    })
  }
}
