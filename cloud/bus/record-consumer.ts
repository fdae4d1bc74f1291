/**
 * One consumer of a topic in a group: records become values, values are handled a batch at a time. What fails by itself is
 * tried again a few times at once; then its key is set aside (parking.ts), retried with a growing pause beside the others,
 * and ends on the dead-letter topic with the reason, so that a poison record stops nobody behind it.
 *
 * The offsets of a batch are committed only when all of it is handled, set aside or dead-lettered. A batch may come again
 * whole, so `handle` is idempotent.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { storableReason } from '../database/stored-text.ts'
import type { Bus, ConsumedBatch, ConsumedRecord, Subscription } from './bus.ts'
import { BusLag } from './bus-lag.ts'
import { type ConsumedItem, codeOf, decoded, type Unusable } from './consumed-item.ts'
import { countGivenUp, type GivenUp, publishGivenUp } from './given-up.ts'
import { isolate } from './isolation.ts'
import type { ParkedRetry } from './parked-retry.ts'
import { laneOf, type NewLane } from './parked-rows.ts'
import type { Parking } from './parking.ts'
import { isExhausted, pauseAfterMs, type RetryPolicy } from './retry-policy.ts'

export type { ConsumedItem, Unusable } from './consumed-item.ts'

export interface RecordConsumerOptions<T extends object> {
  /** For health and logs. */
  readonly name: string
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly group: string
  readonly topics: readonly string[]
  /** Pure. What it throws makes the record unusable as well. */
  readonly decode: (record: ConsumedRecord) => T | Unusable
  /**
   * Makes the effects of the items durable, all or none. A retryable BusbarError, or a database that refuses us, says that
   * something it needs is away: the items come again later, and no try is used up. Anything else is the fault of an item.
   * Called for several partitions, and for what was set aside, side by side; never for one key.
   */
  readonly handle: (items: readonly ConsumedItem<T>[]) => Promise<void>
  /** See SubscribeOptions. Default 0. */
  readonly gatherMs?: number
  /** See SubscribeOptions. Default 1,000. */
  readonly batchRecordsMax?: number
  /** Of this core: where a record waits that its tries at once did not mend, and the later ones of its key behind it. */
  readonly parking: Parking
  /** Default: what `parking` has for the topics. */
  readonly policy?: RetryPolicy
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface RecordConsumerStats {
  /** Records that this core handled, those that had been set aside included. */
  readonly handled: number
  /** Records that this core dead-lettered, by code. */
  readonly deadLettered: Readonly<Record<string, number>>
  /** Why the last batch was left for a later delivery, or what is set aside is not retried; null when all is well. */
  readonly failing: string | null
  /**
   * How far this core is behind the bus, milliseconds: the age of the newest record of a batch in hand, or when it was done; of
   * the partition that is furthest behind. 0 when nothing came for a while.
   */
  readonly behindMs: number
  /** Records that are set aside, and their keys, by all cores of the group; as of some seconds ago at most. */
  readonly parkedRecords: number
  readonly parkedKeys: number
  /** Retries of what was set aside that failed. */
  readonly retried: number
  /** Those of them whose pause was not waited for, since more than `consumers.parkedMax` was set aside. */
  readonly hurried: number
}

/**
 * Calls of `handle` for one batch of which some fails. What they do not come to, because a large part of the batch fails, is
 * set aside untried, so that the partition goes on.
 */
const CALLS_MAX = 256
/** Records decoded before everything else has a turn. */
const RECORDS_PER_TURN = 500

interface Attempt<T> extends ConsumedItem<T> {
  readonly lane: string
  tries: number
  error: unknown
}

export class RecordConsumer<T extends object> implements Part {
  readonly name: string
  private readonly options: RecordConsumerOptions<T>
  private readonly policy: RetryPolicy
  private readonly lag: BusLag
  private readonly stopping = new AbortController()
  private readonly deadLettered: Record<string, number> = {}
  private handled = 0
  private failing: string | null = null
  private retry: ParkedRetry<T> | null = null
  private subscribing: Promise<Subscription> | null = null
  private leaving: Promise<void> | null = null

  constructor(options: RecordConsumerOptions<T>) {
    this.options = options
    this.name = options.name
    this.policy = options.policy ?? options.parking.policyOf(options.topics)
    this.lag = new BusLag(options.clock)
  }

  /** @throws BusbarError TOPIC_MISSING */
  async start(): Promise<void> {
    const { name, bus, group, topics, gatherMs = 0, batchRecordsMax, decode, handle, parking } = this.options
    const limits = { gatherMs, ...(batchRecordsMax !== undefined && { batchRecordsMax }) }
    this.subscribing ??= bus.subscribe({ group, topics, ...limits, onBatch: (batch) => this.consume(batch) })
    await this.subscribing
    if (this.stopping.signal.aborted) return
    this.retry ??= parking.attach({ name, group, topics, decode, handle, policy: this.policy })
  }

  /** Finishes the batch in hand and leaves the group. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.leaving ??= this.leave()
    await this.leaving
  }

  stats(): RecordConsumerStats {
    const retries = this.retry?.stats()
    const deadLettered = { ...this.deadLettered }
    for (const [code, count] of Object.entries(retries?.deadLettered ?? {})) {
      deadLettered[code] = (deadLettered[code] ?? 0) + count
    }
    const { group, topics, parking } = this.options
    const parked = parking.stats().parked.filter((each) => each.group === group && topics.includes(each.topic))
    return {
      handled: this.handled + (retries?.handled ?? 0),
      deadLettered,
      failing: this.failing ?? retries?.failing ?? null,
      behindMs: this.lag.behindMs(),
      parkedRecords: parked.reduce((sum, { records }) => sum + records, 0),
      parkedKeys: parked.reduce((sum, { keys }) => sum + keys, 0),
      retried: retries?.retried ?? 0,
      hurried: retries?.hurried ?? 0,
    }
  }

  private async leave(): Promise<void> {
    const subscription = await this.subscribing?.catch(() => null)
    await subscription?.stop()
    if (this.retry !== null) await this.options.parking.detach(this.retry)
  }

  /** Resolves when the batch is handled, set aside or dead-lettered; rejects when it has to come again. */
  private async consume(batch: ConsumedBatch): Promise<void> {
    const done = this.lag.begin(batch)
    try {
      const { attempts, givenUp } = await this.decode(batch)
      const { group, parking } = this.options
      const aside = await parking.lanesAside(group, batch.topic, new Set(attempts.map(({ lane }) => lane)))
      const crowded = await parking.lanesCrowded(group, batch.topic, aside)
      for (const { record, lane } of crowded.size === 0 ? [] : attempts) {
        if (crowded.has(lane)) givenUp.push({ record, code: 'PARKING_FULL', message: crowdedOut(group), retryCount: 0 })
      }
      const behind = aside.size === 0 ? [] : attempts.filter(({ lane }) => aside.has(lane) && !crowded.has(lane))
      const handleable = aside.size === 0 ? attempts : attempts.filter(({ lane }) => !aside.has(lane))
      const left = await this.handle(handleable)
      const parked = [...behind, ...this.giveUp(left, givenUp)]
      if (parked.length > 0) await this.setAside(batch.topic, parked)
      // Last, because a batch that is left for later comes again, and each time would leave another dead letter.
      if (givenUp.length > 0) await this.deadLetter(givenUp)
      this.handled += handleable.length - left.length
      this.failing = null
    } catch (error) {
      this.failing = messageOf(error)
      throw error
    } finally {
      done()
    }
  }

  private async decode(batch: ConsumedBatch): Promise<{ attempts: Attempt<T>[]; givenUp: GivenUp[] }> {
    const attempts: Attempt<T>[] = []
    const givenUp: GivenUp[] = []
    for (const [index, record] of batch.records.entries()) {
      if (index > 0 && index % RECORDS_PER_TURN === 0) await nextTurn()
      const value = decoded(this.options.decode, record)
      if ('unusable' in value) givenUp.push({ record, code: value.unusable, message: value.message, retryCount: 0 })
      else attempts.push({ record, value, lane: laneOf(record), tries: 0, error: null })
    }
    return { attempts, givenUp }
  }

  /**
   * All at once; what fails by itself again after a pause, as often as the policy says, and what stands behind it with it.
   * However many fail, the others wait for a few pauses at most.
   * @returns what is left, in the order of each lane
   */
  private async handle(attempts: readonly Attempt<T>[]): Promise<readonly Attempt<T>[]> {
    const { handle, clock, log } = this.options
    const { signal } = this.stopping
    let pending = attempts
    let calls = 0
    for (let round = 0; pending.length > 0 && round < this.policy.immediateTries && calls < CALLS_MAX; round++) {
      if (round > 0) await sleep(clock, this.policy.immediatePauseMs, signal)
      const isolated = await isolate(pending, { handle, callsMax: CALLS_MAX - calls, signal })
      if (isolated.outage !== null) throw isolated.outage.error
      if (signal.aborted && isolated.done.length < pending.length) {
        throw new BusbarError(`${this.name} is stopping`, { code: 'CONSUMER_STOPPING', retryable: true })
      }
      calls += isolated.calls
      for (const { record, error } of isolated.failed) {
        record.tries++
        record.error = error
      }
      pending = [...isolated.failed.map(({ record }) => record), ...isolated.waiting]
      if (pending.length > 0) log.debug({ consumer: this.name, round, left: pending.length, calls }, 'records fail')
    }
    return pending
  }

  /**
   * Takes out what has had all its tries and nothing of its lane behind it, for the dead letters. One that others stand behind
   * is set aside with them: those would otherwise say that it is done.
   */
  private giveUp(left: readonly Attempt<T>[], givenUp: GivenUp[]): Attempt<T>[] {
    const sizes = new Map<string, number>()
    for (const { lane } of left) sizes.set(lane, (sizes.get(lane) ?? 0) + 1)
    return left.filter(({ record, lane, tries, error }) => {
      if (sizes.get(lane) !== 1 || !isExhausted(tries, this.policy)) return true
      givenUp.push({ record, code: codeOf(error), message: messageOf(error), retryCount: tries })
      return false
    })
  }

  private async setAside(topic: string, parked: readonly Attempt<T>[]): Promise<void> {
    const { parking, group, random, clock } = this.options
    const nowMs = clock.wallMs()
    const lanes = new Map<string, NewLane>()
    for (const { lane, tries, error } of parked) {
      if (lanes.has(lane)) continue
      const dueAtMs = nowMs + (pauseAfterMs(tries, this.policy, random) ?? 0)
      const errorCode = tries === 0 ? null : codeOf(error)
      lanes.set(lane, { lane, tries, errorCode, error: tries === 0 ? null : storableReason(messageOf(error)), dueAtMs })
    }
    await parking.setAside(group, topic, lanes, parked)
  }

  private async deadLetter(givenUp: readonly GivenUp[]): Promise<void> {
    const { bus, group, clock, log } = this.options
    await publishGivenUp(givenUp, { bus, group, clock, log })
    countGivenUp(this.deadLettered, givenUp)
  }
}

function crowdedOut(group: string): string {
  return `records of its key fill what may be set aside of ${group} (consumers.parkedMax), so it was not tried; replay it once they are done`
}
