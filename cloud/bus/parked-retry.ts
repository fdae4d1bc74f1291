/**
 * Retries what a consumer has set aside: the first record of each lane that is due; once it is done, those behind it, in order
 * and at once, until the lane is free or one fails. A lane in hand is leased, so one core works on it at a time.
 *
 * Effects come first, then the dead letters, then the rows: a crash in between repeats, and loses nothing. While something
 * needed is away nothing is counted and nothing is claimed.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'
import type { Bus } from './bus.ts'
import { countGivenUp, type GivenUp, publishGivenUp } from './given-up.ts'
import { isolate } from './isolation.ts'
import { type Attempt, fateOf, fateOfFailed, prepare, type RetriedConsumer } from './parked-fates.ts'
import type { LaneFate, LaneRow, RecordRow } from './parked-rows.ts'
import type { ParkedCount, ParkingStore } from './parking-store.ts'

export interface ParkedRetryOptions<T extends object> {
  readonly consumer: RetriedConsumer<T>
  readonly store: ParkingStore
  readonly bus: Pick<Bus, 'publish'>
  /** Of these retries and no others, also not of an earlier process. */
  readonly holder: string
  readonly leaseMs: number
  /** True while more is set aside than may be: pauses are not waited for. */
  readonly hurrying: () => boolean
  /** Called when so many records have left the table. */
  readonly onDone: (records: number) => void
  /** Called after lanes were in hand: those that failed are due some time later. */
  readonly onRest: () => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface RetryStats {
  readonly handled: number
  readonly deadLettered: Readonly<Record<string, number>>
  /** Tries that failed. */
  readonly retried: number
  /** Those of them whose pause was not waited for, since too much was set aside. */
  readonly hurried: number
  /** Why nothing is retried at the moment, or null. */
  readonly failing: string | null
}

/** Lanes of one claim; others wait for the next. */
const LANES_MAX = 100
/** Of a lane that goes on; no more are fetched at once anyway. */
const FOLLOWERS_MAX = 500
const CALLS_MAX = 256
const AWAY_BACKOFF: BackoffPolicy = { baseMs: 100, capMs: 30_000 }
/** Failures that follow one another are logged once in so many. */
const FAILURES_PER_LOG = 10
/** A lane that is due later than the longest pause and this, milliseconds, was set aside before the clock was set back. */
const CLOCK_TOLERANCE_MS = 60_000

export class ParkedRetry<T extends object = object> {
  private readonly options: ParkedRetryOptions<T>
  private readonly stopping = new AbortController()
  private readonly deadLettered: Record<string, number> = {}
  private handled = 0
  private retried = 0
  private hurried = 0
  private failures = 0
  private failing: string | null = null
  private leaseEndsMs = 0
  private turning: Promise<void> | null = null

  constructor(options: ParkedRetryOptions<T>) {
    this.options = options
  }

  stats(): RetryStats {
    const { handled, retried, hurried, failing } = this
    return { handled, deadLettered: { ...this.deadLettered }, retried, hurried, failing }
  }

  /** Of what was counted, what this consumer has set aside. */
  own(counts: readonly ParkedCount[]): ParkedCount[] {
    const { group, topics } = this.options.consumer
    return counts.filter((count) => count.group === group && topics.includes(count.topic))
  }

  /** Milliseconds until something is due, 0 for now, null for nothing, or for a turn that is under way. */
  dueInMs(counts: readonly ParkedCount[]): number | null {
    if (this.turning !== null || this.stopping.signal.aborted) return null
    const own = this.own(counts)
    if (own.length === 0) return null
    const nowMs = this.options.clock.wallMs()
    const dueMs = Math.min(...own.map((count) => count.dueMs))
    const late = dueMs <= nowMs || dueMs > this.dueLatestMs(nowMs) || this.options.hurrying()
    return late ? 0 : dueMs - nowMs
  }

  /** Works until nothing is due. */
  wake(): void {
    if (this.stopping.signal.aborted) return
    this.turning ??= this.turn().then((worked) => {
      this.turning = null
      if (worked) this.options.onRest()
    })
  }

  /** Finishes what is being handled, and leaves the rest to other cores. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.turning
  }

  /** True when there was something to do. Never rejects. */
  private async turn(): Promise<boolean> {
    const { store, consumer, holder, clock, random, log } = this.options
    const { signal } = this.stopping
    let worked = false
    while (!signal.aborted) {
      try {
        // A lease that was left behind when the database was away would keep the lane waiting.
        if (this.failures > 0) await store.release(consumer.group, holder)
        const lanes = await this.claim()
        worked ||= lanes.length > 0
        if (lanes.length > 0) await this.work(lanes)
        this.failures = 0
        this.failing = null
        if (lanes.length === 0) break
      } catch (error) {
        this.failing = messageOf(error)
        if (this.failures % FAILURES_PER_LOG === 0) {
          const consumerName = consumer.name
          log.warn({ consumer: consumerName, error: this.failing }, 'what is set aside cannot be retried; it waits')
        }
        await sleep(clock, fullJitterMs(this.failures++, AWAY_BACKOFF, random), signal)
      }
    }
    if (signal.aborted && worked) await store.release(consumer.group, holder).catch(() => undefined)
    return worked
  }

  private dueLatestMs(nowMs: number): number {
    return nowMs + this.options.consumer.policy.backoff.capMs + CLOCK_TOLERANCE_MS
  }

  private async claim(): Promise<LaneRow[]> {
    const { store, consumer, holder, leaseMs, clock, hurrying } = this.options
    const { group, topics } = consumer
    const nowMs = clock.wallMs()
    this.leaseEndsMs = clock.monotonicMs() + leaseMs
    const dueByMs = hurrying() ? Number.MAX_SAFE_INTEGER : nowMs
    const dueLatestMs = this.dueLatestMs(nowMs)
    const leaseUntilMs = nowMs + leaseMs
    return store.claim({ group, topics, holder, nowMs, leaseUntilMs, dueByMs, dueLatestMs, lanesMax: LANES_MAX })
  }

  /** Until each of the lanes is free, or fails, or is somebody else's. @throws what is away. */
  private async work(lanes: readonly LaneRow[]): Promise<void> {
    const { store, clock, leaseMs } = this.options
    const renewal = clock.every(leaseMs / 3, () => void this.renew().catch(() => undefined))
    try {
      let open = new Map(lanes.map((lane) => [lane.id, lane]))
      // The first one shows whether those behind it are worth fetching.
      for (let perLane = 1; open.size > 0; perLane = FOLLOWERS_MAX) {
        const rows = await store.first([...open.keys()], perLane)
        open = await this.attempt(open, rows)
      }
    } finally {
      renewal.cancel()
    }
  }

  private async renew(): Promise<void> {
    const { store, consumer, holder, leaseMs, clock } = this.options
    const leaseEndsMs = clock.monotonicMs() + leaseMs
    await store.renew(consumer.group, holder, clock.wallMs() + leaseMs)
    this.leaseEndsMs = leaseEndsMs
  }

  /** Tries the records and keeps what became of them; resolves with the lanes to go on with. @throws what is away. */
  private async attempt(open: ReadonlyMap<number, LaneRow>, rows: readonly RecordRow[]): Promise<Map<number, LaneRow>> {
    const { consumer, store, holder, clock, random, hurrying, onDone } = this.options
    const { signal } = this.stopping
    const { attempts, givenUp, heads } = prepare(consumer, open, rows)
    const { done, failed, outage } = await isolate(attempts, {
      handle: (some) => this.handle(some),
      callsMax: CALLS_MAX,
      signal,
    })
    const nowMs = clock.wallMs()
    const hurry = hurrying()
    const fates = new Map<number, LaneFate>()
    for (const { record, error } of failed) {
      const fate = fateOfFailed(record, error, {
        policy: consumer.policy,
        random,
        nowMs,
        hurry,
      })
      if ('letter' in fate) givenUp.push(fate)
      else fates.set(fate.id, fate)
      if (hurry && 'dueAtMs' in fate) this.hurried++
    }
    this.retried += failed.length
    const unpublished = await this.deadLetter(givenUp.map(({ letter }) => letter))
    const removed = [...done.map(({ row }) => row), ...(unpublished === null ? givenUp.map(({ row }) => row) : [])]
    const away = outage?.error ?? unpublished
    const removedIds = new Set(removed.map(({ id }) => id))
    for (const [id, lane] of open) {
      const head = heads.get(id)
      // A lane without rows had no room among so many.
      const held = away === null && !signal.aborted && head !== undefined ? 1 : 0
      if (!fates.has(id)) fates.set(id, fateOf(lane, head !== undefined && removedIds.has(head.id), nowMs, held))
    }
    const settlement = { done: removed, fates: [...fates.values()] }
    const ours = await store.settle(holder, settlement)
    this.handled += done.length
    onDone(removed.length)
    if (away !== null) throw away instanceof Error ? away : new Error(messageOf(away))
    const next = new Map<number, LaneRow>()
    for (const [id, fate] of fates) {
      if (fate.held === 1 && ours.has(id)) {
        const { tries, errorCode, error } = fate
        next.set(id, { id, topic: (open.get(id) as LaneRow).topic, tries, error_code: errorCode, error })
      }
    }
    return next
  }

  private async handle(attempts: readonly Attempt<T>[]): Promise<void> {
    const { consumer, clock } = this.options
    if (clock.monotonicMs() >= this.leaseEndsMs) {
      throw new BusbarError(`${consumer.name} was held up for longer than its lease`, {
        code: 'LEASE_LOST',
        retryable: true,
      })
    }
    await consumer.handle(attempts)
  }

  /** Null when they are durable, otherwise what it failed with. */
  private async deadLetter(givenUp: readonly GivenUp[]): Promise<unknown> {
    if (givenUp.length === 0) return null
    const { bus, consumer, clock, log } = this.options
    try {
      await publishGivenUp(givenUp, { bus, group: consumer.group, clock, log })
    } catch (error) {
      return error
    }
    countGivenUp(this.deadLettered, givenUp)
    return null
  }
}
