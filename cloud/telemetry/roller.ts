/**
 * Rolls up what was stored. Deltas gather for a while, so that the many that concern one bucket change its row once; then
 * they are taken out and added to the roll-ups in one transaction. Every core may do it: what one has in hand the others
 * pass by.
 */

import type { Transaction } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { FieldDrops } from './latest-fields.ts'
import { RESOLUTIONS } from './rollup.ts'
import { type BucketRollup, DELTA_RESOLUTION_MS, decodeDelta, encodeDeltas, RollupSums } from './rollup-delta.ts'
import { addToRollups, insertDeltas, type PendingDeltas, pendingDeltas, takeDeltas } from './rollup-store.ts'
import type { TimePartitions } from './time-partitions.ts'

/**
 * What one transaction takes and what it adds to the roll-ups, in buckets and their fields. On SQLite it stops the whole
 * process, so what is summed beyond is put back for the next one.
 */
const LIMITS = {
  postgres: { takenMax: 100_000, addedMax: 50_000 },
  sqlite: { takenMax: 6_000, addedMax: 2_000 },
} as const

export interface RollerOptions {
  readonly database: DatabaseHandle
  readonly partitions: TimePartitions
  /** How long deltas gather, milliseconds. */
  readonly delayMs: number
  readonly drops: FieldDrops
  readonly clock: Clock
  readonly log: Logger
}

export class Roller implements Part {
  readonly name = 'roll-ups'
  private readonly options: RollerOptions
  private readonly stopping = new AbortController()
  private timer: Timer | null = null
  /** The round in hand, and those that were asked for behind it. */
  private rounds: Promise<unknown> = Promise.resolve()
  private readonly complaints: ComplaintLimit
  /** Readings that this core has rolled up, and transactions that did. */
  readonly counts = { readings: 0, transactions: 0 }
  /** What waits in the database, of all cores, as of the last look. */
  pending: PendingDeltas = { deltas: 0, readings: 0, oldestAtMs: null }

  constructor(options: RollerOptions) {
    this.complaints = new ComplaintLimit(options.clock)
    this.options = options
  }

  async start(): Promise<void> {
    if (this.timer === null) this.schedule()
  }

  /** Finishes the transaction in hand; what waits is rolled up by whoever starts next. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.timer?.cancel()
    await this.rounds
  }

  /** Rolls up everything that waits and that no other core has in hand. @throws BusbarError DATABASE_UNAVAILABLE */
  rollUp(): Promise<void> {
    const round = this.rounds.then(() => this.round())
    this.rounds = round.catch(() => undefined)
    return round
  }

  private schedule(): void {
    if (this.stopping.signal.aborted) return
    const { clock, log, delayMs } = this.options
    this.timer = clock.after(delayMs, () => {
      void this.rollUp()
        .catch((error) => {
          if (this.stopping.signal.aborted || !this.complaints.isDue()) return
          log.warn({ error: messageOf(error) }, 'readings could not be rolled up; trying again')
        })
        .finally(() => this.schedule())
    })
  }

  private async round(): Promise<void> {
    const { database, partitions } = this.options
    while (!this.stopping.signal.aborted) {
      const times = new Set<number>()
      const { taken, readings } = await partitions.around(times, () =>
        database.transaction((transaction) => this.take(times, transaction)),
      )
      if (taken === 0) break
      this.counts.readings += readings
      this.counts.transactions++
      // Noted already when the readings were stored, unless that was long ago.
      await partitions.ensure(times)
      await nextTurn()
    }
    this.pending = await pendingDeltas(database.kysely)
  }

  /** Moves deltas into the roll-ups. May run again from the start. */
  private async take(times: Set<number>, transaction: Transaction<Database>) {
    const { database, drops } = this.options
    const { dialect } = database
    const { takenMax, addedMax } = LIMITS[dialect]
    const taken = await takeDeltas(dialect, takenMax, transaction)
    const sums = new RollupSums()
    for (const { body } of taken) {
      if (dialect === 'postgres') await nextTurn()
      for (const bucket of decodeDelta(body)) sums.add(bucket, DELTA_RESOLUTION_MS, drops)
    }
    let buckets = sums.sorted()
    const [now, later] = parted(buckets, addedMax)
    if (later.length > 0) {
      const createdAtMs = Math.min(...taken.map((delta) => delta.createdAtMs))
      await insertDeltas(encodeDeltas(later, addedMax), createdAtMs, transaction)
      buckets = now
    }
    let readings = 0
    for (const { bucketMs, records } of buckets) {
      times.add(bucketMs)
      readings += records
    }
    for (const resolution of RESOLUTIONS) {
      // Each of the coarser ones is made of the one before it.
      if (resolution.ms !== DELTA_RESOLUTION_MS) buckets = coarser(buckets, resolution.ms, drops)
      await addToRollups(dialect, resolution, buckets, transaction, drops)
    }
    return { taken: taken.length, readings }
  }
}

function coarser(buckets: readonly BucketRollup[], resolutionMs: number, drops: FieldDrops): BucketRollup[] {
  const sums = new RollupSums()
  for (const bucket of buckets) sums.add(bucket, resolutionMs, drops)
  return sums.sorted()
}

/** As many of the first as `entriesMax` lets, at least one, and the rest. */
function parted(buckets: readonly BucketRollup[], entriesMax: number): [BucketRollup[], BucketRollup[]] {
  let entries = 0
  const end = buckets.findIndex(({ fields }, i) => {
    entries += fields.size + 1
    return i > 0 && entries > entriesMax
  })
  return end === -1 ? [[...buckets], []] : [buckets.slice(0, end), buckets.slice(end)]
}
