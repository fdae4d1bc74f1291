/** Takes in what others have to record: checked, and put onto the bus whole or not at all. */

import { type Clock, sleep } from '../../shared/clock.ts'
import { MINUTE_MS } from '../../shared/durations.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { readInstant } from '../../shared/instant.ts'
import { isObject } from '../../shared/json-object.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { TokenBuckets } from '../../shared/token-buckets.ts'
import type { Bus } from '../bus/bus.ts'
import { USER_ACTIVITY_LOGS } from '../bus/catalogue.ts'
import { activityRecord, derivedEventId, newEventId } from './activity-record.ts'
import type { ActivityTypes } from './activity-types.ts'
import { type ActivityProblem, type ActivityRules, checkActivity } from './check-activity.ts'
import { ACTIVITY_VERSION, type UserActivity } from './event.ts'

export interface IntakeOptions {
  readonly bus: Pick<Bus, 'publish'>
  /** Asked when it is needed: they are known once all routes are. */
  readonly types: () => Pick<ActivityTypes, 'has'>
  readonly settings: {
    readonly batchMax: number
    readonly ownPerMinute: number
    readonly metadataBytesMax: number
    readonly futureToleranceMs: number
  }
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** As it was sent, with who did it; what is absent is filled in. */
export type GivenActivity = Omit<UserActivity, 'eventId' | 'version' | 'timestamp' | 'metadata'> &
  Partial<Pick<UserActivity, 'eventId' | 'version' | 'timestamp' | 'metadata'>>

/** How a request came. */
export interface Taking {
  /** Of what does not say another. */
  readonly correlationId: string
  /** Members of metadata that those have which do not say them. */
  readonly metadata?: Readonly<Record<string, unknown>>
  /** The same of a request that is sent again, so that its activities have the ids that they had; null for fresh ones. */
  readonly retryKey: string | null
}

export interface IntakeStats {
  /** Requests whose activities are on the bus, since the start. */
  readonly batches: number
  /** Activities of them. */
  readonly taken: number
  /** Requests that were refused for what they said. */
  readonly refused: number
  /** Requests that the bus did not take, or not in time. */
  readonly failed: number
  /** Requests whose activities wait for the bus now, those that were answered meanwhile included. */
  readonly waiting: number
}

/** Header `source` of what is taken in. */
const SOURCE = 'activity-api'
/** A bus that takes longer is told of as away; shorter than what keeps a connection open that says nothing. */
const PUBLISH_WAIT_MS = 10_000
/** Requests whose activities may wait for the bus, which holds them in memory; another one is told to come again. */
const WAITING_MAX = 200
/** People whose use is remembered. */
const PEOPLE_MAX = 20_000

export class ActivityIntake {
  private readonly options: IntakeOptions
  private readonly counts = { batches: 0, taken: 0, refused: 0, failed: 0 }
  private readonly people: TokenBuckets
  private waiting = 0

  constructor(options: IntakeOptions) {
    const { ownPerMinute } = options.settings
    this.options = options
    this.people = new TokenBuckets({ perSecond: (ownPerMinute * 1_000) / MINUTE_MS, burst: ownPerMinute }, PEOPLE_MAX)
  }

  /** Activities that one person may record in a minute. */
  get ownPerMinute(): number {
    return this.options.settings.ownPerMinute
  }

  /** @returns 0, or after how many milliseconds a person may record as many. */
  waitOf(userId: string, activities: number): number {
    return this.people.take(userId, activities, this.options.clock.monotonicMs())
  }

  /** Activities of one request. */
  get batchMax(): number {
    return this.options.settings.batchMax
  }

  /**
   * What is wrong with them, with pointers such as /3/activityType; empty when nothing is. What `given` need not be of the form
   * that it should be.
   */
  problems(given: readonly unknown[], taking: Omit<Taking, 'retryKey'>): readonly ActivityProblem[] {
    const nowMs = this.options.clock.wallMs()
    const problems: ActivityProblem[] = []
    const { batchMax } = this.options.settings
    if (given.length > batchMax) problems.push({ pointer: '', remedy: `at most ${batchMax} activities at once` })
    const seen = new Map<string, number>()
    for (const [i, each] of given.slice(0, batchMax).entries()) {
      if (!isObject(each)) continue
      const event = this.complete(each as GivenActivity, i, { ...taking, retryKey: null }, nowMs)
      const check = checkActivity(event, this.rules(nowMs))
      if ('problems' in check) {
        problems.push(...check.problems.map((problem) => ({ ...problem, pointer: `/${i}${problem.pointer}` })))
      }
      const same = seen.get(event.eventId)
      if (same !== undefined) {
        problems.push({ pointer: `/${i}/eventId`, value: event.eventId, remedy: `another one: /${same} has it` })
      }
      seen.set(event.eventId, i)
    }
    return problems
  }

  /**
   * Resolves with their ids when all are on the bus; of a failure nobody knows whether they are, and the same `retryKey` keeps
   * them from being stored twice.
   * @param given without `problems`.
   * @throws BusbarError: retryable when the bus is away, ACTIVITIES_BUSY; BATCH_TOO_LARGE, RECORD_TOO_LARGE
   */
  async take(given: readonly GivenActivity[], taking: Taking): Promise<readonly string[]> {
    const { clock, log } = this.options
    if (this.waiting >= WAITING_MAX) {
      this.counts.failed++
      throw new BusbarError(`${WAITING_MAX} requests wait for the bus already`, {
        code: 'ACTIVITIES_BUSY',
        retryable: true,
        hint: 'Send them again later.',
      })
    }
    const nowMs = clock.wallMs()
    const events = given.map((each, i) => this.complete(each, i, taking, nowMs))
    const eventIds = events.map(({ eventId }) => eventId)
    const about = { correlationId: taking.correlationId, eventId: eventIds[0], activities: events.length }
    try {
      await this.publish(events)
    } catch (error) {
      this.counts.failed++
      log.warn({ ...about, error: messageOf(error) }, 'the bus did not take activities that were sent')
      throw error
    }
    this.counts.batches++
    this.counts.taken += events.length
    log.debug(about, 'activities taken in')
    return eventIds
  }

  /** Counts a request that was refused for what it said. */
  noteRefused(): void {
    this.counts.refused++
  }

  stats(): IntakeStats {
    return { ...this.counts, waiting: this.waiting }
  }

  private async publish(events: readonly UserActivity[]): Promise<void> {
    const { bus, clock } = this.options
    const records = events.map((event) => {
      const { key, value, headers } = activityRecord(event, SOURCE)
      return { key, value, headers }
    })
    const over = new AbortController()
    this.waiting++
    const published = bus
      .publish(USER_ACTIVITY_LOGS, records, { atomic: true })
      .then(() => true)
      .finally(() => void this.waiting--)
    const inTime = sleep(clock, PUBLISH_WAIT_MS, over.signal).then(() => false)
    try {
      if (await Promise.race([published, inTime])) return
    } finally {
      over.abort()
    }
    // Whatever becomes of it, the answer has been given. The bus still holds it in memory, so it counts as waiting.
    published.catch(() => undefined)
    throw new BusbarError(`the bus has not taken the activities within ${PUBLISH_WAIT_MS / 1000} seconds`, {
      code: 'BUS_UNAVAILABLE',
      retryable: true,
      hint: 'Send them again with the same Idempotency-Key: none is stored twice then.',
    })
  }

  private complete(given: GivenActivity, i: number, taking: Taking, nowMs: number): UserActivity {
    const { timestamp, metadata, eventId, version, ...others } = given
    const readMs = typeof timestamp === 'string' ? readInstant(timestamp) : nowMs
    return {
      ...others,
      timestamp: timestamp !== undefined && readMs === null ? timestamp : new Date(readMs ?? nowMs).toISOString(),
      metadata: metadata === undefined || isObject(metadata) ? { ...taking.metadata, ...metadata } : metadata,
      eventId: eventId ?? this.eventId(taking.retryKey, i),
      version: version ?? ACTIVITY_VERSION,
      correlationId: others.correlationId ?? taking.correlationId,
    }
  }

  private eventId(retryKey: string | null, i: number): string {
    return retryKey === null ? newEventId(this.options.random) : derivedEventId('evt', retryKey, i)
  }

  private rules(nowMs: number): ActivityRules {
    const { metadataBytesMax, futureToleranceMs } = this.options.settings
    return { types: this.options.types(), metadataBytesMax, futureToleranceMs, nowMs }
  }
}
