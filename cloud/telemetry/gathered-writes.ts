/**
 * Gathers what several partitions bring into one write at a time. While one write is in flight the next one gathers;
 * a small one waits a little for company, so that a trickle of records does not cost an fsync each.
 */

import type { Clock, Timer } from '../../shared/clock.ts'

interface Waiter<T> {
  readonly gather: (gathered: T) => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export interface GatheredWritesOptions<T> {
  readonly clock: Clock
  readonly empty: () => T
  /** Makes what gathered durable, all or nothing. */
  readonly write: (gathered: T) => Promise<void>
  /** Whether a failure is the fault of something that was to be written; each who gave some is then written alone. */
  readonly isFaultOfOne: (error: unknown) => boolean
}

export class GatheredWrites<T> {
  private readonly options: GatheredWritesOptions<T>
  private readonly clock: Clock
  private gathered: T
  private waiters: Waiter<T>[] = []
  private dueAtMs = Number.POSITIVE_INFINITY
  private timer: Timer | null = null
  private writing = false
  private hurrying = false

  constructor(options: GatheredWritesOptions<T>) {
    this.options = options
    this.clock = options.clock
    this.gathered = options.empty()
  }

  /**
   * Adds to what gathers now, by `gather`, which may be called again; resolves when that is durable, at the latest `delayMs`
   * from now plus one write.
   */
  add(gather: (gathered: T) => void, delayMs: number): Promise<void> {
    gather(this.gathered)
    this.dueAtMs = Math.min(this.dueAtMs, this.clock.monotonicMs() + delayMs)
    return new Promise((resolve, reject) => {
      this.waiters.push({ gather, resolve, reject })
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
    this.gathered = this.options.empty()
    this.waiters = []
    this.dueAtMs = Number.POSITIVE_INFINITY
    this.writing = true
    try {
      await this.options.write(gathered)
      for (const { resolve } of waiters) resolve()
    } catch (error) {
      if (waiters.length > 1 && this.options.isFaultOfOne(error)) await this.writeApart(waiters)
      else for (const { reject } of waiters) reject(error)
    } finally {
      this.writing = false
      this.schedule()
    }
  }

  /** So that nobody is told of a failure that was another's. */
  private async writeApart(waiters: readonly Waiter<T>[]): Promise<void> {
    for (const { gather, resolve, reject } of waiters) {
      const own = this.options.empty()
      try {
        gather(own)
        await this.options.write(own)
        resolve()
      } catch (error) {
        reject(error)
      }
    }
  }
}
