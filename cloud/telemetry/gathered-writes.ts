/**
 * Gathers what several partitions bring into one write at a time. While one write is in flight the next one gathers;
 * a small one waits a little for company, so that a trickle of records does not cost an fsync each.
 */

import type { Clock, Timer } from '../../shared/clock.ts'

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** `T` gathers; `write` makes it durable and may be called again with the same when it failed. */
export class GatheredWrites<T> {
  private readonly clock: Clock
  private readonly empty: () => T
  private readonly write: (gathered: T) => Promise<void>
  private gathered: T
  private waiters: Waiter[] = []
  private dueAtMs = Number.POSITIVE_INFINITY
  private timer: Timer | null = null
  private writing = false
  private hurrying = false

  constructor(options: { clock: Clock; empty: () => T; write: (gathered: T) => Promise<void> }) {
    this.clock = options.clock
    this.empty = options.empty
    this.write = options.write
    this.gathered = options.empty()
  }

  /** Adds to what gathers now; resolves when that is durable, at the latest `delayMs` from now plus one write. */
  add(gather: (gathered: T) => void, delayMs: number): Promise<void> {
    gather(this.gathered)
    this.dueAtMs = Math.min(this.dueAtMs, this.clock.monotonicMs() + delayMs)
    return new Promise((resolve, reject) => {
      this.waiters.push({ resolve, reject })
      this.schedule()
    })
  }

  /** From now on nothing waits for company. */
  hurry(): void {
    this.hurrying = true
    this.schedule()
  }

  private schedule(): void {
    this.timer?.cancel()
    this.timer = null
    if (this.writing || this.waiters.length === 0) return
    const delayMs = this.hurrying ? 0 : this.dueAtMs - this.clock.monotonicMs()
    if (delayMs <= 0) void this.writeGathered()
    else this.timer = this.clock.after(delayMs, () => void this.writeGathered())
  }

  /** Never rejects: the waiters are told. */
  private async writeGathered(): Promise<void> {
    const { gathered, waiters } = this
    this.gathered = this.empty()
    this.waiters = []
    this.dueAtMs = Number.POSITIVE_INFINITY
    this.writing = true
    try {
      await this.write(gathered)
      for (const { resolve } of waiters) resolve()
    } catch (error) {
      for (const { reject } of waiters) reject(error)
    } finally {
      this.writing = false
      this.schedule()
    }
  }
}
