/** Partitions by time, seen to before a write that needs them; what is known to be there is asked for once an hour. */

import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { keyOf, PartitionStore } from './partition-store.ts'
import { STRETCHED_TABLES, stretchOf, type TimeStretch } from './time-stretches.ts'

/** How exact the note is of when a stretch was last written to, milliseconds. */
const NOTE_PERIOD_MS = 3_600_000
/** SQLSTATE check_violation: among others, a row for which there is no partition. */
const CHECK_VIOLATION = '23514'

export class TimePartitions {
  private readonly clock: Clock
  private readonly store: PartitionStore
  /** When each was noted, monotonic. As many as the days that readings may be old: a few thousand. */
  private readonly notedAtMs = new Map<string, number>()
  /** As of the last look. */
  count = 0

  constructor(options: { database: DatabaseHandle; clock: Clock }) {
    this.clock = options.clock
    this.store = new PartitionStore(options.database)
  }

  /** Not within a transaction: partitions that are made here are there for all cores at once. @param times event times. */
  async ensure(times: Iterable<number>): Promise<void> {
    await this.see(times, false)
  }

  /**
   * Runs a write into the stretches of `times`, which it may extend. Should one be missing in spite of what is known, since
   * an operator dropped or restored something, it is made and the write runs once more.
   */
  async around<T>(times: Iterable<number>, write: () => Promise<T>): Promise<T> {
    await this.see(times, false)
    try {
      return await write()
    } catch (error) {
      if (!isMissingPartition(error)) throw error
      this.notedAtMs.clear()
      await this.see(times, true)
      return await write()
    }
  }

  private async see(times: Iterable<number>, doubtful: boolean): Promise<void> {
    const nowMs = this.clock.monotonicMs()
    const stale = new Map<string, TimeStretch>()
    for (const atMs of times) {
      for (const table of STRETCHED_TABLES) {
        const stretch = stretchOf(table, atMs)
        const key = keyOf(stretch)
        const notedAtMs = this.notedAtMs.get(key)
        if (notedAtMs === undefined || nowMs - notedAtMs >= NOTE_PERIOD_MS) stale.set(key, stretch)
      }
    }
    if (stale.size === 0) return
    await this.store.ensure([...stale.values()], this.clock.wallMs(), doubtful)
    for (const key of stale.keys()) this.notedAtMs.set(key, nowMs)
    this.count = await this.store.count()
  }
}

function isMissingPartition(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === CHECK_VIOLATION
}
