/**
 * Publishes windows of activities on `user-activity-analytics` once they are over, by one core for all: those of a user and a
 * type, and what they come to for each user and each type. One in which something came late is published again. What is
 * remembered of users' habits and has not been used for long goes here as well.
 */

import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { USER_ACTIVITY_ANALYTICS } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import { derivedEventId } from './activity-record.ts'
import { analyticsRecord } from './analytics-record.ts'
import { purgeHabits } from './habits.ts'
import { lockDueWindows, markPublished, purgeWindows, totalsOf, type WindowTotal } from './window-store.ts'

export interface ActivityWindowsOptions {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  /** activity */
  readonly settings: {
    readonly windowMs: number
    readonly suspicion: { readonly addressDays: number; readonly failedLoginsMs: number; readonly commandsMs: number }
  }
  readonly coreId: string
  /** How often it looks for windows that are over, milliseconds. Default 2,000. */
  readonly periodMs?: number
  /** How long after its end, and after its last change, a window is published, milliseconds. Default 5,000. */
  readonly lateMs?: number
  readonly clock: Clock
  readonly log: Logger
}

/** Windows of one transaction. */
const WINDOWS_PER_STEP = 500
/** How long windows are kept for what comes late, and for bursts to be found in them. */
const KEPT_MS = 2 * DAY_MS

export class ActivityWindows implements Part {
  readonly name = 'activity windows'
  private readonly options: ActivityWindowsOptions
  private readonly duties: readonly Duty[]
  private published = 0

  constructor(options: ActivityWindowsOptions) {
    const { database, coreId, clock, log, periodMs = 2_000 } = options
    this.options = options
    const common = { database, coreId, clock, log }
    this.duties = [
      new Duty({ ...common, name: 'activity windows', periodMs, work: (signal) => this.publishDue(signal) }),
      new Duty({ ...common, name: 'activity habits', periodMs: HOUR_MS, work: (signal) => this.purge(signal) }),
    ]
  }

  async start(): Promise<void> {
    for (const duty of this.duties) await duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await Promise.all(this.duties.map((duty) => duty.stop(deadline)))
  }

  /** Windows that this core gave to the outbox since the start, each as often as it changed. */
  stats(): { readonly published: number } {
    return { published: this.published }
  }

  private async publishDue(signal: AbortSignal): Promise<void> {
    const { outbox } = this.options
    for (let found = WINDOWS_PER_STEP; found === WINDOWS_PER_STEP && !signal.aborted; await nextTurn()) {
      found = await this.publishSome()
      if (found > 0) outbox.nudge()
      this.published += found
    }
  }

  private async publishSome(): Promise<number> {
    const { database, outbox, clock, lateMs = 5_000 } = this.options
    const { dialect } = database
    return await database.transaction(async (transaction) => {
      const nowMs = Math.round(clock.wallMs())
      const due = await lockDueWindows(nowMs - lateMs, WINDOWS_PER_STEP, dialect, transaction)
      if (due.length === 0) return 0
      const totals = await totalsOf(due, dialect, transaction)
      await outbox.append([...due, ...totals].map(recordOf), transaction)
      await markPublished(due, nowMs, dialect, transaction)
      return due.length
    })
  }

  private async purge(signal: AbortSignal): Promise<void> {
    const { database, clock, settings } = this.options
    const { addressDays, failedLoginsMs, commandsMs } = settings.suspicion
    const nowMs = Math.round(clock.wallMs())
    const keptMs = KEPT_MS + Math.max(failedLoginsMs, commandsMs)
    for (let removed = WINDOWS_PER_STEP; removed === WINDOWS_PER_STEP && !signal.aborted; await nextTurn()) {
      removed = await database.transaction((transaction) => {
        return purgeWindows(nowMs - keptMs, WINDOWS_PER_STEP, transaction)
      })
    }
    if (!signal.aborted) await purgeHabits(nowMs, addressDays, database)
  }
}

/** Of one window, whether of all types or users or not. */
function recordOf({ user_id, activity_type, succeeded, failed, refused, ...window }: WindowTotal): OutboxRecord {
  const windowEnd = new Date(window.window_end_ms).toISOString()
  const record = analyticsRecord({
    kind: 'WINDOW',
    eventId: derivedEventId('wnd', window.window_start_ms, window.window_end_ms, user_id, activity_type),
    timestamp: windowEnd,
    userId: user_id,
    activityType: activity_type,
    windowStart: new Date(window.window_start_ms).toISOString(),
    windowEnd,
    count: succeeded + failed + refused,
    succeeded,
    failed,
    refused,
  })
  return { topic: USER_ACTIVITY_ANALYTICS, ...record }
}
