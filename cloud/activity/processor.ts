/**
 * Stores what is on `user-activity-logs`, each event once and those of a user in order, and publishes what matters of it for
 * security. Offsets are committed only after that; a batch that comes again changes nothing, and what it published it publishes
 * again with the same eventIds.
 *
 *     user-activity-logs ─▶ checked ─▶ one transaction: entries, chain, windows, habits, notices ─▶ user-activity-analytics
 *                              └─ no activity, or nothing stores it ─▶ user-activity-logs-dlq
 */

import type { Clock } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { HistogramReading } from '../../shared/metrics.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus, ConsumedRecord, DependencyHealth } from '../bus/bus.ts'
import { USER_ACTIVITY_ANALYTICS, USER_ACTIVITY_GROUP, USER_ACTIVITY_LOGS } from '../bus/catalogue.ts'
import { isAway } from '../bus/isolation.ts'
import { readJson } from '../bus/json-value.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { Parking } from '../bus/parking.ts'
import { type ConsumedItem, RecordConsumer, type RecordConsumerStats, type Unusable } from '../bus/record-consumer.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { storableText } from '../database/stored-text.ts'
import type { Notifier } from '../notifications/notifications.ts'
import type { ActivityKeys } from './activity-keys.ts'
import type { ActivityStore } from './activity-store.ts'
import type { ActivityTypes } from './activity-types.ts'
import { activityAnalytics, mattersForSecurity, PATTERNS, type SuspicionPattern } from './analytics-record.ts'
import { type ActivityProblem, type ActivityRules, checkActivity } from './check-activity.ts'
import type { CheckedActivity } from './event.ts'
import { SecondsHistogram } from './seconds.ts'
import { type SuspicionSettings, Suspicions } from './suspicion.ts'
import { addToWindows, countedWindows } from './window-store.ts'

export interface ActivityProcessorOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly store: Pick<ActivityStore, 'append'>
  readonly keys: ActivityKeys
  readonly types: Pick<ActivityTypes, 'has'>
  /** activity */
  readonly settings: {
    readonly metadataBytesMax: number
    readonly futureToleranceMs: number
    readonly windowMs: number
    readonly suspicion: SuspicionSettings
  }
  readonly parking: Parking
  readonly notifier: Notifier
  readonly outbox: Outbox
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface ActivityProcessorStats extends RecordConsumerStats {
  /** Events that this core stored. */
  readonly stored: number
  /** Those that were stored before: sent twice, or delivered twice. */
  readonly repeated: number
  /** Records of `user-activity-analytics` that this core published directly. */
  readonly analytics: number
  /** Those that the bus refused for themselves. */
  readonly analyticsRefused: number
  /** From a batch in hand to its effects being durable. */
  readonly seconds: HistogramReading
  /** Suspicious patterns that were told of. */
  readonly suspicions: Readonly<Record<SuspicionPattern, number>>
}

/** An entry is found this much later at most, and under a light load the brokers are asked far less often. */
const GATHER_MS = 50
/**
 * The chain is locked once a batch, and its day written once: of more at once each costs less. On SQLite all of it is work of
 * our own thread, which gateways and requests wait for meanwhile.
 */
const BATCH_RECORDS_MAX = { postgres: 5_000, sqlite: 1_000 } as const
/** The clocks of cores, and of one core after a correction, differ by less: what one has taken in no other gives up as of the future. */
const CLOCKS_APART_MS = 60_000
/** Characters of a header that are kept. */
const SOURCE_CHARS_MAX = 128
/** Problems named in a dead letter. */
const PROBLEMS_NAMED_MAX = 10

export class ActivityProcessor implements Part {
  readonly name = 'activity processor'
  private readonly options: ActivityProcessorOptions
  private readonly consumer: RecordConsumer<CheckedActivity>
  private readonly suspicions: Suspicions
  private readonly seconds = new SecondsHistogram()
  private readonly counts = { stored: 0, repeated: 0, analytics: 0, analyticsRefused: 0 }
  private readonly found = Object.fromEntries(PATTERNS.map((pattern) => [pattern, 0])) as Record<
    SuspicionPattern,
    number
  >

  constructor(options: ActivityProcessorOptions) {
    const { bus, database, settings, types, keys, parking, notifier, outbox, clock, random, log } = options
    const { metadataBytesMax, futureToleranceMs, windowMs } = settings
    this.options = options
    this.suspicions = new Suspicions({
      dialect: database.dialect,
      settings: settings.suspicion,
      ...{ keys, windowMs, notifier, outbox },
    })
    this.consumer = new RecordConsumer<CheckedActivity>({
      name: this.name,
      bus,
      group: USER_ACTIVITY_GROUP,
      topics: [USER_ACTIVITY_LOGS],
      decode: (record) => readActivity(record, { types, metadataBytesMax, futureToleranceMs, nowMs: clock.wallMs() }),
      handle: (items) => this.handle(items),
      gatherMs: GATHER_MS,
      batchRecordsMax: BATCH_RECORDS_MAX[database.dialect],
      ...{ parking, clock, random, log },
    })
  }

  async start(): Promise<void> {
    await this.consumer.start()
  }

  async stop(): Promise<void> {
    await this.consumer.stop()
  }

  /** What it says where nothing can be stored, as when the key of today's chain is gone. */
  health(): DependencyHealth {
    const { failing } = this.consumer.stats()
    return failing === null ? { state: 'up' } : { state: 'degraded', detail: `entries wait on the bus: ${failing}` }
  }

  stats(): ActivityProcessorStats {
    return {
      ...this.consumer.stats(),
      ...this.counts,
      seconds: this.seconds.read(),
      suspicions: { ...this.found },
    }
  }

  /** Resolves when every effect of the items is durable. */
  private async handle(items: readonly ConsumedItem<CheckedActivity>[]): Promise<void> {
    const { database, store, settings, notifier, clock, log } = this.options
    const startedMs = clock.monotonicMs()
    const activities = items.map(({ value }) => value)
    const { stored, found } = await database.transaction(async (transaction) => {
      const stored = await store.append(activities, transaction)
      // A turn for everyone else in between: on SQLite a statement is no wait but work of ours.
      await nextTurn()
      const nowMs = Math.round(clock.wallMs())
      await addToWindows(countedWindows(stored, settings.windowMs), nowMs, database.dialect, transaction)
      return { stored, found: await this.suspicions.find(stored, nowMs, transaction) }
    })
    this.counts.stored += stored.length
    this.counts.repeated += activities.length - stored.length
    for (const pattern of found) this.found[pattern]++
    if (found.length > 0) notifier.nudge()
    await this.publish(activities)
    const tookMs = clock.monotonicMs() - startedMs
    this.seconds.add(tookMs / 1000)
    const [first, last] = [activities[0]?.eventId, activities[activities.length - 1]?.eventId]
    log.debug({ events: activities.length, stored: stored.length, first, last, tookMs }, 'activities stored')
  }

  /** Also those that were stored before: whoever stored them may have ended before it came to this. */
  private async publish(activities: readonly CheckedActivity[]): Promise<void> {
    const { bus, log } = this.options
    const records = activities.filter(mattersForSecurity).map(activityAnalytics)
    if (records.length === 0) return
    try {
      await bus.publish(USER_ACTIVITY_ANALYTICS, records)
      this.counts.analytics += records.length
    } catch (error) {
      if (isAway(error)) throw error
      // What is stored is no dead letter because of what should follow from it.
      this.counts.analyticsRefused += records.length
      log.error({ topic: USER_ACTIVITY_ANALYTICS, records: records.length, error: messageOf(error) }, 'records refused')
    }
  }
}

/** The activity of a record, with the program that it comes from, or why it is none. Pure. */
export function readActivity(record: ConsumedRecord, rules: ActivityRules): CheckedActivity | Unusable {
  const value = readJson(record.value)
  if (value === undefined) return { unusable: 'VALIDATION_ERROR', message: 'the value is not JSON' }
  const checked = checkActivity(value, { ...rules, futureToleranceMs: rules.futureToleranceMs + CLOCKS_APART_MS })
  if ('problems' in checked) return { unusable: 'VALIDATION_ERROR', message: spelledOut(checked.problems) }
  const source = record.headers.source
  return { ...checked.activity, source: source === undefined ? null : storableText(source, SOURCE_CHARS_MAX) }
}

/** Values are left out, but for the type: this ends up in logs, and what stands in the wrong place may be a secret. */
function spelledOut(problems: readonly ActivityProblem[]): string {
  const named = problems.slice(0, PROBLEMS_NAMED_MAX).map(({ pointer, value, remedy }) => {
    const given = pointer === '/activityType' && typeof value === 'string' ? ` ${JSON.stringify(value)}` : ''
    return `${pointer === '' ? 'the value' : pointer}${given}: ${remedy}`
  })
  const more = problems.length - named.length
  return `${named.join('; ')}${more > 0 ? `; and ${more} more` : ''}`
}
