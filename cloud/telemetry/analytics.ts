/**
 * Analytics of device records: every reading once, its roll-ups, the latest values, the devices' statuses and their
 * history. Offsets are committed only after the database has all of it; a batch that comes twice changes nothing.
 *
 *     device-telemetry, device-status ─▶ decoded ─▶ gathered ─▶ one transaction: readings, deltas, latest values, statuses
 *                                                      deltas ─▶ roller ─▶ roll-ups of a minute, 15 minutes, an hour, a day
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus } from '../bus/bus.ts'
import { ANALYTICS_GROUP, DEVICE_STATUS, DEVICE_TELEMETRY } from '../bus/catalogue.ts'
import { isAway } from '../bus/isolation.ts'
import type { Parking } from '../bus/parking.ts'
import { type ConsumedItem, RecordConsumer } from '../bus/record-consumer.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import type { StatusEvent } from '../registry/device-event.ts'
import type { Registry } from '../registry/registry.ts'
import { type Arrival, readArrival } from './analytics-record.ts'
import { GatheredArrivals, type StoredReading } from './gathered-arrivals.ts'
import { GatheredWrites } from './gathered-writes.ts'
import type { FieldDrops } from './latest-fields.ts'
import { type DeviceLatest, LatestStore } from './latest-store.ts'
import { storeReadings } from './reading-store.ts'
import { Retention, type RetentionDays } from './retention.ts'
import { Roller } from './roller.ts'
import { type BucketRollup, encodeDeltas, RollupSums } from './rollup-delta.ts'
import { insertDeltas } from './rollup-store.ts'
import { TimePartitions } from './time-partitions.ts'

export interface AnalyticsSettings extends RetentionDays {
  readonly acceptedAgeDays: number
  readonly rollUpDelayMs: number
}

/** What else comes of a record; each runs in the transaction that stores it, and again when the record comes again. */
export interface StatusEffects {
  /** The history of statuses. */
  append(events: readonly StatusEvent[], transaction: Transaction<Database>): Promise<void>
  /** Devices that were heard of now, by id, Unix milliseconds, which `latest_values` says by then; none of them is silent. */
  heard(heardAtMs: ReadonlyMap<number, number>, transaction: Transaction<Database>): Promise<void>
  /** The transaction is durable. */
  nudge?(): void
}

export interface AnalyticsOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly registry: Pick<Registry, 'writeStatuses'>
  readonly settings: AnalyticsSettings
  readonly parking: Parking
  readonly statuses?: StatusEffects
  /** Names this run of this core; only one core at a time deletes what is old. */
  readonly coreId: string
  /** How long after the bus took it in a record may wait for others to be written with, milliseconds. Default 200. */
  readonly writeDelayMs?: number
  /** A batch of at least this many records does not wait. Default 500. */
  readonly fullBatchRecords?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface AnalyticsStats {
  /** Records whose effect is durable. */
  readonly records: number
  /** Transactions, rows of latest values that they changed, and readings that they added. */
  readonly writes: number
  readonly writtenRows: number
  readonly storedReadings: number
  /** Readings that were stored already. */
  readonly duplicateReadings: number
  /** Records that were dead-lettered, by code. */
  readonly unusable: Readonly<Record<string, number>>
  /** Fields that are not kept as latest values or roll-ups, by reason; the readings have them. */
  readonly droppedFields: Readonly<FieldDrops>
  /** Readings that this core has added to the roll-ups. */
  readonly rolledUpReadings: number
  /** Readings of all cores that wait for it, and for how long the oldest has, milliseconds, as of the last look. */
  readonly pendingReadings: number
  readonly pendingMs: number
  /** Stretches of time that the tables have, as of the last look. */
  readonly partitions: number
  /** How far this core is behind the bus, milliseconds; 0 when nothing came for a while. See RecordConsumerStats. */
  readonly behindMs: number
  /** Why records are left for later; null when all is well. */
  readonly failing: string | null
}

/** A latest value is seen this much later at most, and under a light load the brokers are asked far less often. */
const GATHER_MS = 100
/** More at once means fewer rows of latest values and of deltas for each of them: half the CPU of a thousand. */
const BATCH_RECORDS_MAX = 5_000
/** Buckets and fields of one row of deltas: what SQLite rolls up at once. */
const DELTA_ENTRIES_MAX = 2_000
/** Readings summed before everything else has a turn. */
const READINGS_PER_TURN = 1_000
/** What is too old is looked for this often, milliseconds. */
const RETENTION_PERIOD_MS = 3_600_000

export class Analytics implements Part {
  readonly name = 'analytics'
  private readonly options: AnalyticsOptions
  private readonly latestValues: LatestStore
  private readonly partitions: TimePartitions
  private readonly writes: GatheredWrites<GatheredArrivals>
  private readonly consumer: RecordConsumer<Arrival>
  private readonly roller: Roller
  private readonly retention: Duty
  private readonly drops: FieldDrops = { tooLong: 0, tooMany: 0 }
  private readonly counts = { records: 0, writes: 0, writtenRows: 0, storedReadings: 0, duplicateReadings: 0 }

  constructor(options: AnalyticsOptions) {
    const { bus, database, settings, parking, coreId, clock, random, log } = options
    this.options = options
    this.latestValues = new LatestStore(database)
    this.partitions = new TimePartitions({ database, clock })
    this.writes = new GatheredWrites<GatheredArrivals>({
      clock,
      empty: () => new GatheredArrivals(),
      write: (gathered) => this.write(gathered),
      isFaultOfOne: (error) => !isAway(error),
    })
    const acceptedAgeMs = settings.acceptedAgeDays * DAY_MS
    this.consumer = new RecordConsumer<Arrival>({
      name: this.name,
      bus,
      group: ANALYTICS_GROUP,
      topics: [DEVICE_TELEMETRY, DEVICE_STATUS],
      decode: (record) => readArrival(record, clock.wallMs(), acceptedAgeMs),
      handle: (items) => this.handle(items),
      gatherMs: GATHER_MS,
      batchRecordsMax: BATCH_RECORDS_MAX,
      parking,
      clock,
      random,
      log,
    })
    const { partitions, drops } = this
    this.roller = new Roller({ database, partitions, delayMs: settings.rollUpDelayMs, drops, clock, log })
    const retention = new Retention({ database, settings, clock })
    this.retention = new Duty({
      name: 'retention of readings',
      database,
      coreId,
      periodMs: RETENTION_PERIOD_MS,
      work: (signal) => retention.run(signal),
      clock,
      log,
    })
  }

  async start(): Promise<void> {
    await this.retention.start()
    await this.roller.start()
    await this.consumer.start()
  }

  /** Writes the batches in hand and leaves the group; what is not rolled up waits for the next start. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.writes.hurry()
    await this.consumer.stop()
    await this.roller.stop()
    await this.retention.stop(deadline)
  }

  /** Null when nothing has arrived from the device. @throws BusbarError DATABASE_UNAVAILABLE */
  latest(deviceId: number): Promise<DeviceLatest | null> {
    return this.latestValues.latest(deviceId)
  }

  /** Of the devices of a site that anything has arrived from, by device id, at most 10,000. */
  latestOfSite(siteId: number): Promise<readonly DeviceLatest[]> {
    return this.latestValues.latestOfSite(siteId)
  }

  /**
   * Rolls up at once what is stored, but for what another core has in hand, in place of waiting until more of it has
   * gathered. @throws BusbarError DATABASE_UNAVAILABLE
   */
  rollUp(): Promise<void> {
    return this.roller.rollUp()
  }

  stats(): AnalyticsStats {
    const { deadLettered, failing, behindMs } = this.consumer.stats()
    const { pending, counts } = this.roller
    return {
      ...this.counts,
      unusable: deadLettered,
      droppedFields: { ...this.drops },
      rolledUpReadings: counts.readings,
      pendingReadings: pending.readings,
      pendingMs: pending.oldestAtMs === null ? 0 : Math.max(0, this.options.clock.wallMs() - pending.oldestAtMs),
      partitions: this.partitions.count,
      behindMs,
      failing,
    }
  }

  /** Resolves when every effect of the items is durable. */
  private async handle(items: readonly ConsumedItem<Arrival>[]): Promise<void> {
    const { clock, writeDelayMs = 200, fullBatchRecords = 500 } = this.options
    const { record: newest } = items[items.length - 1] as ConsumedItem<Arrival>
    // Who lags behind the bus must not wait; neither does a clock that was stepped make anyone wait for longer.
    const sinceMs = Math.max(0, clock.wallMs() - newest.timestampMs)
    const delayMs = items.length >= fullBatchRecords ? 0 : writeDelayMs - sinceMs
    await this.writes.add((gathered) => {
      for (const { value } of items) gathered.add(value, this.drops)
    }, delayMs)
    this.counts.records += items.length
  }

  private async write(gathered: GatheredArrivals): Promise<void> {
    if (gathered.isEmpty) return
    const { database, statuses } = this.options
    const readings = gathered.sortedReadings()
    const { stored, writtenRows } = await this.partitions.around(gathered.days, () =>
      database.transaction(async (transaction) => {
        // Turns for everyone else in between: on SQLite a statement is no wait but work of ours.
        const stored = await storeReadings(database.dialect, readings, transaction)
        await nextTurn()
        const deltas = encodeDeltas(await this.sumOf(stored), DELTA_ENTRIES_MAX)
        await insertDeltas(deltas, this.options.clock.wallMs(), transaction)
        await nextTurn()
        return { stored: stored.length, writtenRows: await this.writeStates(gathered, transaction) }
      }),
    )
    this.counts.writes++
    this.counts.writtenRows += writtenRows
    this.counts.storedReadings += stored
    this.counts.duplicateReadings += gathered.readings - stored
    statuses?.nudge?.()
  }

  private async sumOf(readings: readonly StoredReading[]): Promise<BucketRollup[]> {
    const sums = new RollupSums()
    for (let i = 0; i < readings.length; i++) {
      if (i > 0 && i % READINGS_PER_TURN === 0) await nextTurn()
      sums.addReading(readings[i] as StoredReading, this.drops)
    }
    return sums.sorted()
  }

  /** Statuses and latest values; gives how many rows of these changed. */
  private async writeStates(gathered: GatheredArrivals, transaction: Transaction<Database>): Promise<number> {
    const { registry, statuses } = this.options
    const { latest, heard, heardLive } = gathered
    if (gathered.statuses.length > 0) {
      // Ingest has written its own already, in the order in which they came, which event times do not always tell.
      await registry.writeStatuses(gathered.statuses, transaction, 'keep')
      await statuses?.append(gathered.statuses, transaction)
    }
    const written = await this.latestValues.merge(latest, heard, transaction, this.drops)
    // After the rows say so: whoever looks for silence in between then finds none.
    if (heardLive.size > 0) await statuses?.heard(heardLive, transaction)
    return written
  }
}
