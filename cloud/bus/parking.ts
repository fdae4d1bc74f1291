/**
 * Where records wait that their consumers cannot handle yet. A consumer sets a record aside, with its lane: from then on every
 * later record of the key goes into the table behind it, until all before it is done; so the key keeps its order, and the
 * partition goes on with the others. A record without a key is a lane of its own.
 *
 * Any core that runs the consumer retries what any core has set aside; a lease says which one has a lane in hand.
 *
 * Why no record overtakes one of its key that is set aside, however partitions move between cores: a consumer asks the table
 * for the lanes of a batch before it handles any of it. Only who consumes the partition makes a lane, and the offsets behind
 * it are committed after its rows are durable; so who comes after them sees the lane, or finds it free because all of it was
 * done. A lane that becomes free between the question and the answer gets its next record through the table all the same, and
 * the other way round none can begin. Nothing about lanes is remembered between two batches: a partition may have been another
 * core's meanwhile. While nothing of the topic is set aside the question is a look into an empty index.
 *
 * A core that has lost a partition without knowing it may still handle or set aside what its successor did already: a repeat,
 * as with every handler of a bus. Apart from that what is repeated is always the end of what a key has had, in its order.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Bus } from './bus.ts'
import type { RetriedConsumer } from './parked-fates.ts'
import { ParkedRetry } from './parked-retry.ts'
import type { NewLane } from './parked-rows.ts'
import { type LaneRecord, type ParkedCount, ParkingStore } from './parking-store.ts'
import { type ConsumerSettings, type RetryPolicy, retryPolicyOf } from './retry-policy.ts'

export interface ParkingOptions {
  readonly database: DatabaseHandle
  readonly bus: Pick<Bus, 'publish'>
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly settings: ConsumerSettings
  /** How often what other cores set aside is looked for, milliseconds. Default 1,000. */
  readonly pollMs?: number
  /** How long after its core died a key is taken over, milliseconds. The cores' clocks differ by less. Default 15,000. */
  readonly leaseMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** What is set aside of one consumer group and topic, by all cores, as of the last look at the table. */
export interface ParkedStats {
  readonly group: string
  readonly topic: string
  readonly records: number
  readonly keys: number
  /** How long the oldest of the keys has been set aside, milliseconds. */
  readonly oldestAgeMs: number
}

export interface ParkingStats {
  /** Groups and topics of which something is set aside. */
  readonly parked: readonly ParkedStats[]
  /** Groups of which more is set aside than `parkedMax`, so that pauses are not waited for. */
  readonly hurrying: readonly string[]
  /** Why the table cannot be read, or null. */
  readonly failing: string | null
}

/** The table holds up to so many times `parkedMax` of a group before its consumers wait. */
const FULL_FACTOR = 2
/** A lane that has so much of `parkedMax` gets no more while the table is full: others do not wait for a single key. */
const CROWDED_SHARE = 0.1
const POLL_BACKOFF = { baseMs: 200, capMs: 10_000 }
/** Looks at the table are this far apart at least, milliseconds. */
const GATHER_MS = 10
const FAILURES_PER_LOG = 10

export class Parking implements Part {
  readonly name = 'parking'
  private readonly options: ParkingOptions
  private readonly store: ParkingStore
  private readonly retries = new Set<ParkedRetry>()
  private attached = 0
  private counts: readonly ParkedCount[] = []
  /** Records that came and went since they were counted, by group. */
  private readonly drift = new Map<string, number>()
  private failing: string | null = null
  private failures = 0
  private readonly stopping = new AbortController()
  private nudged = false
  private wakeUp = new AbortController()
  private running: Promise<void> | null = null

  constructor(options: ParkingOptions) {
    this.options = options
    this.store = new ParkingStore(options.database)
  }

  /** Does not wait for the database. What is attached before or after it is retried from now on. */
  async start(): Promise<void> {
    if (this.stopping.signal.aborted) return
    this.running ??= this.run()
  }

  /** Finishes what is being handled; the rest goes to other cores at once. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.wakeUp.abort()
    await this.running
    await Promise.all([...this.retries].map((retry) => retry.stop()))
  }

  stats(): ParkingStats {
    const nowMs = this.options.clock.wallMs()
    const parked = this.counts.map(({ group, topic, records, keys, oldestMs }) => {
      return { group, topic, records, keys, oldestAgeMs: Math.max(0, nowMs - oldestMs) }
    })
    const groups = new Set(this.counts.map(({ group }) => group))
    return { parked, hurrying: [...groups].filter((group) => this.isHurrying(group)), failing: this.failing }
  }

  policyOf(topics: readonly string[]): RetryPolicy {
    return retryPolicyOf(topics, this.options.settings)
  }

  /** Retries for a consumer, until its `detach`. */
  attach<T extends object>(consumer: RetriedConsumer<T>): ParkedRetry<T> {
    const { bus, coreId, leaseMs = 15_000, clock, random, log } = this.options
    const retry = new ParkedRetry<T>({
      consumer,
      store: this.store,
      bus,
      holder: `${coreId}/${++this.attached}`,
      leaseMs,
      hurrying: () => this.isHurrying(consumer.group),
      onDone: (records) => this.note(consumer.group, -records),
      onRest: () => this.nudge(),
      ...{ clock, random, log },
    })
    this.retries.add(retry as unknown as ParkedRetry)
    this.nudge()
    return retry
  }

  /** Resolves when nothing is being retried for it any more. */
  async detach<T extends object>(retry: ParkedRetry<T>): Promise<void> {
    await retry.stop()
    this.retries.delete(retry as unknown as ParkedRetry)
  }

  /** Those of the lanes that are set aside. To be asked for each batch, before any of it is handled. */
  lanesAside(group: string, topic: string, lanes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    return this.store.lanesAside(group, topic, lanes)
  }

  /** Those of the lanes that are set aside to which nothing may be added, since the table is full of what they have. */
  async lanesCrowded(group: string, topic: string, lanes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    if (lanes.size === 0 || !this.isFull(group)) return new Set()
    return await this.store.lanesWithMany(group, topic, lanes, CROWDED_SHARE * this.options.settings.parkedMax)
  }

  /**
   * Sets records aside, those of a lane in their order, behind what is there of it. Durable when it resolves; may be repeated.
   * @param lanes of the records; what they say counts for those that are not set aside yet
   * @throws BusbarError PARKING_FULL, retryable
   */
  async setAside(
    group: string,
    topic: string,
    lanes: ReadonlyMap<string, NewLane>,
    records: readonly LaneRecord[],
  ): Promise<void> {
    const { clock, log } = this.options
    if (this.isFull(group)) {
      throw new BusbarError(`${group} has too many records set aside to add more`, {
        code: 'PARKING_FULL',
        retryable: true,
        hint: 'see the dead letters of the group for what is wrong; consumers.parkedMax is the limit',
      })
    }
    await this.store.setAside(group, topic, lanes, records, clock.wallMs())
    this.note(group, records.length)
    const failed = [...lanes.values()].filter(({ tries }) => tries > 0)
    if (failed.length > 0) {
      const [{ lane, errorCode, error }] = failed as [NewLane]
      log.warn({ topic, group, keys: failed.length, first: { lane, errorCode, error } }, 'keys are set aside')
    }
    this.nudge()
  }

  private async run(): Promise<void> {
    const { clock, signal } = { clock: this.options.clock, signal: this.stopping.signal }
    while (!signal.aborted) {
      this.nudged = false
      this.wakeUp = new AbortController()
      const pauseMs = await this.look()
      if (this.nudged) await sleep(clock, GATHER_MS, signal)
      else await sleep(clock, Math.max(GATHER_MS, pauseMs), this.wakeUp.signal)
    }
  }

  /** Wakes who has something due; gives when to look again, milliseconds. */
  private async look(): Promise<number> {
    const { clock, random, log, pollMs = 1_000 } = this.options
    try {
      this.drift.clear()
      this.counts = await this.store.counts(clock.wallMs())
      this.failing = null
      this.failures = 0
    } catch (error) {
      this.failing = messageOf(error)
      if (this.failures % FAILURES_PER_LOG === 0) log.warn({ error: this.failing }, 'set-aside records cannot be read')
      return fullJitterMs(this.failures++, POLL_BACKOFF, random)
    }
    // Several cores look at different times.
    let pauseMs = pollMs * (0.5 + random.fraction() / 2)
    for (const retry of this.retries) {
      const dueInMs = retry.dueInMs(this.counts)
      if (dueInMs === 0) retry.wake()
      else if (dueInMs !== null) pauseMs = Math.min(pauseMs, dueInMs)
    }
    return pauseMs
  }

  private nudge(): void {
    this.nudged = true
    this.wakeUp.abort()
  }

  private note(group: string, records: number): void {
    this.drift.set(group, (this.drift.get(group) ?? 0) + records)
  }

  private recordsOf(group: string): number {
    return this.counts.reduce(
      (sum, count) => sum + (count.group === group ? count.records : 0),
      this.drift.get(group) ?? 0,
    )
  }

  private isFull(group: string): boolean {
    return this.recordsOf(group) >= FULL_FACTOR * this.options.settings.parkedMax
  }

  private isHurrying(group: string): boolean {
    return this.recordsOf(group) > this.options.settings.parkedMax
  }
}
