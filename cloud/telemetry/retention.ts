/**
 * Deletes readings and roll-ups that are old, a stretch of time at once. One that was written to of late stays, however old
 * its readings: should their batch come again, they must be known as stored.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { PartitionStore } from './partition-store.ts'
import { STRETCHED_TABLES, type StretchedTable, type TimeStretch } from './time-stretches.ts'

/** How long each table's rows are kept, days. */
export interface RetentionDays {
  readonly rawDays: number
  readonly rollup1mDays: number
  readonly rollup15mDays: number
  readonly rollup1hDays: number
  readonly rollup1dDays: number
}

const DAYS_OF: Readonly<Record<StretchedTable['table'], keyof RetentionDays>> = {
  readings: 'rawDays',
  rollups_1m: 'rollup1mDays',
  rollups_15m: 'rollup15mDays',
  rollups_1h: 'rollup1hDays',
  rollups_1d: 'rollup1dDays',
}

/** Longer than a batch may take to come again. */
const QUIET_MS = 2 * DAY_MS
/** On SQLite: rows of one statement, some milliseconds, and the pause after it, in which everybody else writes. */
const ROWS_PER_DELETE = 1_000
const DELETE_PAUSE_MS = 10

export class Retention {
  private readonly database: DatabaseHandle
  private readonly store: PartitionStore
  private readonly days: RetentionDays
  private readonly clock: Clock

  constructor(options: { database: DatabaseHandle; settings: RetentionDays; clock: Clock }) {
    this.database = options.database
    this.store = new PartitionStore(options.database)
    this.days = options.settings
    this.clock = options.clock
  }

  /** Deletes what is too old now; where it was cut short the next run goes on. @throws BusbarError DATABASE_UNAVAILABLE */
  async run(signal: AbortSignal): Promise<void> {
    const nowMs = await this.nowMs()
    const quietSinceMs = nowMs - QUIET_MS
    let failure: { error: unknown } | null = null
    for (const { table } of STRETCHED_TABLES) {
      const endedByMs = nowMs - this.days[DAYS_OF[table]] * DAY_MS
      for (const stretch of await this.store.old(table, endedByMs, quietSinceMs)) {
        if (signal.aborted) return
        try {
          await this.delete(stretch, quietSinceMs, signal)
        } catch (error) {
          // Somebody may read this one for long; the others need not wait for that.
          failure ??= { error }
        }
      }
    }
    if (failure !== null) throw failure.error
  }

  /**
   * Hardly later than the newest reading: a clock that was set a month ahead must not delete a month. Devices and gateways
   * have clocks of their own, and what they send is dated by those.
   */
  private async nowMs(): Promise<number> {
    const newestMs = await this.store.newestMs('readings')
    return newestMs === null ? this.clock.wallMs() : Math.min(this.clock.wallMs(), newestMs + QUIET_MS)
  }

  private async delete(stretch: TimeStretch, quietSinceMs: number, signal: AbortSignal): Promise<void> {
    if (this.database.dialect === 'sqlite') await this.deleteRows(stretch, quietSinceMs, signal)
    if (!signal.aborted) await this.store.drop(stretch, quietSinceMs)
  }

  private async deleteRows(stretch: TimeStretch, quietSinceMs: number, signal: AbortSignal): Promise<void> {
    let deviceId: number | null = 0
    while (deviceId !== null && !signal.aborted) {
      deviceId = await this.store.deleteSome(stretch, deviceId, ROWS_PER_DELETE, quietSinceMs)
      await sleep(this.clock, DELETE_PAUSE_MS, signal)
    }
  }
}
