/**
 * Takes in what the core itself has to record: through the outbox, so that it is kept while the bus is away. Group commit: while
 * one transaction runs what comes meanwhile gathers for the next one. While the database is away it gathers in memory.
 */

import type { Transaction } from 'kysely'
import { type Clock, sleep, type Timer } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { aborted } from '../../shared/waiting.ts'
import { isAway } from '../bus/isolation.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { type ActivityRecord, activityRecord, eventOf, newEventId, soundActivity } from './activity-record.ts'
import { type Activities, type NewActivity, RECORDER_SOURCE, type UserActivity } from './event.ts'
import { RefusalLimit } from './refusal-limit.ts'

/** Of the settings of the activity log. */
export interface RecorderSettings {
  readonly recordWaitMs: number
  readonly pendingMax: number
  readonly refusalsPerMinute: number
  readonly metadataBytesMax: number
  readonly sensitiveFields: readonly string[]
}

export interface RecorderOptions {
  readonly database: Pick<DatabaseHandle, 'transaction'>
  readonly outbox: Pick<Outbox, 'append' | 'nudge'>
  readonly settings: RecorderSettings
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface RecorderStats {
  /** Stored with what is to be published, since the start. */
  readonly recorded: number
  /** In memory, waiting for the database. */
  readonly pending: number
  /** In the log of the program alone, since the start. */
  readonly lost: number
  /** Refused requests that were only counted, since the start. */
  readonly suppressed: number
  /** Answers that were given before their entry was stored, since the start. */
  readonly late: number
}

interface Waiting {
  readonly event: UserActivity
  readonly record: ActivityRecord
  /** Called once it is stored, or lost. */
  readonly done: () => void
}

/** Entries of one transaction. */
const BATCH_MAX = 500
/** What is recorded meanwhile is published together: nobody waits for it, and on SQLite each step has to wait its turn. */
const PUBLISH_DELAY_MS = 100
const BACKOFF = { baseMs: 100, capMs: 5_000 }

export class ActivityRecorder implements Activities, Part {
  readonly name = 'activity recorder'
  private readonly options: RecorderOptions
  private readonly refusals: RefusalLimit
  /** Those of the transaction that runs are the first of them. */
  private pending: Waiting[] = []
  private writing: Promise<void> | null = null
  private nudging: Timer | null = null
  private away = false
  private closed = false
  private readonly letGo = new AbortController()
  private readonly counts = { recorded: 0, lost: 0, late: 0 }

  constructor(options: RecorderOptions) {
    this.options = options
    this.refusals = new RefusalLimit(options.settings.refusalsPerMinute, options.clock.monotonicMs())
  }

  async start(): Promise<void> {}

  /** Stores what waits; what cannot be stored before the deadline is in the log of the program. */
  async stop(deadline: AbortSignal): Promise<void> {
    while (this.writing !== null && !deadline.aborted) await Promise.race([this.writing, aborted(deadline)])
    this.closed = true
    this.letGo.abort()
    this.nudging?.cancel()
    this.options.outbox.nudge()
    for (const { event, done } of this.pending.splice(0)) {
      this.lose(event, 'the program stops')
      done()
    }
  }

  async record(given: NewActivity): Promise<void> {
    const { settings, clock } = this.options
    const left = this.refusals.admit(given, clock.monotonicMs())
    if (left === null) return
    const activity = left === 0 ? given : { ...given, metadata: { ...given.metadata, suppressed: left } }
    const event = this.eventOf(activity)
    if (this.closed || this.pending.length >= settings.pendingMax) {
      this.lose(event, this.closed ? 'the recorder has stopped' : 'too many wait for the database')
      return
    }
    const stored = new Promise<void>((done) => {
      this.pending.push({ event, record: activityRecord(event, RECORDER_SOURCE), done })
    })
    this.writing ??= this.drain()
    // While nothing can be stored, whoever is refused or fails is told so at once.
    if (this.away && event.outcome !== 'SUCCESS') return
    await this.inTime(stored)
  }

  /** Stores them in the transaction of what they tell of, to be published when it is committed. */
  async recordWithin(activities: readonly NewActivity[], transaction: Transaction<Database>): Promise<void> {
    const records = activities.map((activity) => activityRecord(this.eventOf(activity), RECORDER_SOURCE))
    await this.options.outbox.append(records, transaction)
  }

  stats(): RecorderStats {
    return { ...this.counts, ...this.refusals.stats(), pending: this.pending.length }
  }

  private eventOf(activity: NewActivity): UserActivity {
    const { settings, clock, random } = this.options
    const sound = soundActivity(activity, settings.metadataBytesMax)
    return eventOf(sound, { eventId: newEventId(random), nowMs: clock.wallMs() })
  }

  private async inTime(stored: Promise<void>): Promise<void> {
    const { settings, clock } = this.options
    let isLate = true
    await new Promise<void>((resolve) => {
      const timer = clock.after(settings.recordWaitMs, resolve)
      void stored.then(() => {
        isLate = false
        timer.cancel()
        resolve()
      })
    })
    if (isLate) this.counts.late++
  }

  /** Never rejects. */
  private async drain(): Promise<void> {
    const { clock, random } = this.options
    // What comes in this turn of the event loop goes along.
    await Promise.resolve()
    for (let failures = 0; this.pending.length > 0; ) {
      const error = await this.store(this.pending.slice(0, BATCH_MAX))
      if (error === null) {
        failures = 0
        this.noteBack()
      } else {
        this.noteAway(error)
        await sleep(clock, fullJitterMs(failures++, BACKOFF, random), this.letGo.signal)
      }
    }
    this.writing = null
  }

  /**
   * Stores the first of those that wait; what the database will never take is lost, and the others are stored without it.
   * @returns why nothing can be stored at present; null when all of them are done with.
   */
  private async store(batch: readonly Waiting[]): Promise<unknown> {
    const { database, outbox, clock } = this.options
    const records = batch.map(({ record }) => record)
    try {
      await database.transaction((transaction) => outbox.append(records, transaction))
    } catch (error) {
      if (isAway(error)) return error
      const half = batch.length >> 1
      if (half > 0) return (await this.store(batch.slice(0, half))) ?? (await this.store(batch.slice(half)))
      for (const { event } of batch) this.lose(event, messageOf(error))
      this.finish(batch)
      return null
    }
    this.nudging ??= clock.after(PUBLISH_DELAY_MS, () => {
      this.nudging = null
      outbox.nudge()
    })
    this.counts.recorded += batch.length
    this.finish(batch)
    return null
  }

  private finish(batch: readonly Waiting[]): void {
    this.pending.splice(0, batch.length)
    for (const { done } of batch) done()
  }

  private lose(event: UserActivity, error: string): void {
    const { settings, log } = this.options
    this.counts.lost++
    const shown = Object.entries(event.metadata).filter(([name]) => !settings.sensitiveFields.includes(name))
    const { eventId, correlationId } = event
    const activity = { ...event, metadata: Object.fromEntries(shown) }
    log.error({ eventId, correlationId, activity, error }, 'an activity could not be recorded: it is here alone')
  }

  private noteAway(error: unknown): void {
    if (!this.away) {
      this.options.log.warn({ error: messageOf(error) }, 'activities wait in memory: they cannot be stored at present')
    }
    this.away = true
  }

  private noteBack(): void {
    if (this.away) this.options.log.info({ activities: this.pending.length }, 'activities that waited are stored')
    this.away = false
  }
}
