/** A clock that stands still until told to move, and whose wall time can be stepped. */

import type { Clock, Timer } from '../../shared/clock.ts'

interface Due {
  at: number
  readonly order: number
  readonly periodMs: number | null
  readonly fn: () => void
}

export class ManualClock implements Clock {
  private monotonic = 0
  private wallOffset: number
  private order = 0
  private readonly due = new Set<Due>()

  constructor(wallMs = Date.UTC(2026, 0, 1)) {
    this.wallOffset = wallMs
  }

  wallMs(): number {
    return this.monotonic + this.wallOffset
  }

  monotonicMs(): number {
    return this.monotonic
  }

  after(delayMs: number, fn: () => void): Timer {
    return this.schedule(delayMs, null, fn)
  }

  every(periodMs: number, fn: () => void): Timer {
    return this.schedule(periodMs, periodMs, fn)
  }

  /** Moves both clocks forward and runs what falls due, in order. */
  advance(ms: number): void {
    const target = this.monotonic + ms
    for (;;) {
      let next: Due | null = null
      for (const due of this.due) {
        if (due.at > target) continue
        if (next === null || due.at < next.at || (due.at === next.at && due.order < next.order)) next = due
      }
      if (next === null) break
      this.monotonic = Math.max(this.monotonic, next.at)
      if (next.periodMs === null) this.due.delete(next)
      else next.at += next.periodMs
      next.fn()
    }
    this.monotonic = target
  }

  /** Steps the wall clock only, as NTP or an operator does. */
  stepWall(ms: number): void {
    this.wallOffset += ms
  }

  private schedule(delayMs: number, periodMs: number | null, fn: () => void): Timer {
    const due: Due = { at: this.monotonic + Math.max(0, delayMs), order: this.order++, periodMs, fn }
    this.due.add(due)
    return { cancel: () => void this.due.delete(due) }
  }
}
