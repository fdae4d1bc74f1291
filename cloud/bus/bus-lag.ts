/** How far a consumer is behind the bus, by the age of what it has in hand and had in hand last. */

import type { Clock } from '../../shared/clock.ts'
import type { ConsumedBatch } from './bus.ts'

interface LastBatch {
  /** When the bus took in its newest record, Unix milliseconds. */
  readonly busAtMs: number
  /** How old that was when the batch was done, and when that was by the monotonic clock; null while it is in hand. */
  readonly done: { readonly ageMs: number; readonly atMs: number } | null
}

/** A partition of which nothing came for so long, milliseconds, is no news: it is empty, or another core's. */
const NEWS_MS = 60_000

export class BusLag {
  private readonly clock: Clock
  private readonly partitions = new Map<string, LastBatch>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** A batch is taken in hand; to be called when it is done, handled or left to come again. */
  begin({ topic, partition, records }: ConsumedBatch): () => void {
    const newest = records.at(-1)
    if (newest === undefined) return () => undefined
    const [key, busAtMs] = [`${topic}/${partition}`, newest.timestampMs]
    this.partitions.set(key, { busAtMs, done: null })
    return () => {
      this.partitions.set(key, { busAtMs, done: { ageMs: this.ageOf(busAtMs), atMs: this.clock.monotonicMs() } })
    }
  }

  /** Of the partition that is furthest behind, milliseconds; 0 when nothing came for a while. */
  behindMs(): number {
    let behindMs = 0
    for (const [key, { busAtMs, done }] of this.partitions) {
      if (done !== null && this.clock.monotonicMs() - done.atMs > NEWS_MS) this.partitions.delete(key)
      else behindMs = Math.max(behindMs, done?.ageMs ?? this.ageOf(busAtMs))
    }
    return behindMs
  }

  private ageOf(busAtMs: number): number {
    return Math.max(0, this.clock.wallMs() - busAtMs)
  }
}
