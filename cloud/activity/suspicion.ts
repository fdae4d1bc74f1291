/**
 * Finds suspicious patterns in activities as they are stored, in their transaction: many failed logins or commands of a user
 * within a time, and logins that are unlike those before. Administrators and auditors are told of them.
 */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import { USER_ACTIVITY_ANALYTICS } from '../bus/catalogue.ts'
import type { Outbox } from '../bus/outbox.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import { overseers } from '../identity/identity.ts'
import type { Notifier } from '../notifications/notifications.ts'
import type { ActivityKeys } from './activity-keys.ts'
import type { SuspicionPattern } from './analytics-record.ts'
import type { CheckedActivity } from './event.ts'
import { Habits } from './habits.ts'
import { noticeOf, recordOf, type Suspicion } from './suspicion-notice.ts'
import { windowStart } from './window-store.ts'

export interface SuspicionSettings {
  readonly failedLogins: number
  readonly failedLoginsMs: number
  readonly commands: number
  readonly commandsMs: number
  readonly newAddress: boolean
  readonly addressDays: number
  readonly unusualHours: boolean
  readonly unusualHoursDays: number
  readonly timeZone: string
}

export interface SuspicionsOptions {
  readonly dialect: Dialect
  readonly keys: ActivityKeys
  readonly settings: SuspicionSettings
  /** activity.windowMs */
  readonly windowMs: number
  readonly notifier: Pick<Notifier, 'notify'>
  readonly outbox: Pick<Outbox, 'append'>
}

/** So many activities of a user within a time. */
interface CountRule {
  readonly pattern: SuspicionPattern
  /** 0 for never. */
  readonly limit: number
  readonly withinMs: number
  readonly types: readonly string[]
  readonly counts: (activity: CheckedActivity) => boolean
  /** The same of entries as stored, and how many of a window may be some. */
  readonly stored: RawBuilder<boolean>
  readonly ofWindow: RawBuilder<number>
}

/** What was done longer ago than this is no news, such as what is imported; it is learnt from. */
const NEWS_MS = DAY_MS
/** What was told of so much later was told by a clock that has been set back since, and silences nothing. */
const TOLD_AHEAD_MS = NEWS_MS + DAY_MS
/** Of what comes together each part of a rule's time is looked at by itself, so many of them: a lull behind a burst does not hide it. */
const LOOKS_A_TIME = 10
/** An unusual login is told once in this time; those that follow are of the same night. */
const ODDITY_PAUSE_MS = 6 * HOUR_MS

export class Suspicions {
  private readonly options: SuspicionsOptions
  private readonly habits: Habits
  private readonly rules: readonly CountRule[]

  constructor(options: SuspicionsOptions) {
    const { settings } = options
    this.options = options
    this.habits = new Habits(options)
    this.rules = [
      {
        pattern: 'FAILED_LOGINS',
        limit: settings.failedLogins,
        withinMs: settings.failedLoginsMs,
        types: ['login', 'login_failed'],
        counts: isFailedLogin,
        stored: sql<boolean>`(activity_type = 'login_failed' or (activity_type = 'login' and outcome in ('FAILURE', 'REFUSED')))`,
        ofWindow: sql<number>`case when activity_type = 'login' then failed + refused else succeeded + failed + refused end`,
      },
      {
        pattern: 'COMMAND_BURST',
        limit: settings.commands,
        withinMs: settings.commandsMs,
        types: ['command', 'task'],
        counts: ({ activityType }) => activityType === 'command' || activityType === 'task',
        stored: sql<boolean>`activity_type in ('command', 'task')`,
        ofWindow: sql<number>`succeeded + failed + refused`,
      },
    ]
  }

  /** @param stored now, and counted in the windows already. @returns what was found and told, by pattern. */
  async find(
    stored: readonly CheckedActivity[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<readonly SuspicionPattern[]> {
    const found: Suspicion[] = []
    for (const rule of this.rules) found.push(...(await this.bursts(rule, stored, nowMs, transaction)))
    found.push(...(await this.oddLogins(stored, nowMs, transaction)))
    if (found.length === 0) return []
    await this.tell(found, transaction)
    return found.map(({ pattern }) => pattern)
  }

  private async bursts(
    rule: CountRule,
    stored: readonly CheckedActivity[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<readonly Suspicion[]> {
    const { pattern, limit, withinMs } = rule
    const candidates = lastOfEach(
      stored.filter((activity) => limit > 0 && isNews(activity, nowMs) && rule.counts(activity)),
      Math.min(this.options.windowMs, Math.ceil(withinMs / LOOKS_A_TIME)),
    )
    if (candidates.length === 0) return []
    const windows = await this.windowsOf(rule, candidates, transaction)
    const found: Suspicion[] = []
    for (const activity of candidates) {
      const { userId, atMs } = activity
      const begunMs = atMs - withinMs
      let atMost = 0
      for (const { start, end, count } of windows.get(userId) ?? []) {
        if (end > begunMs && start <= atMs) atMost += count
      }
      if (atMost < limit) continue
      // Windows are coarser than the time that counts: the entries themselves tell, as many as it takes.
      const { rows } = await sql<{ n: number }>`
        select count(*) as n from (
          select 1 from activity_logs where user_id = ${userId} and at_ms > ${begunMs} and at_ms <= ${atMs}
          and ${rule.stored} limit ${limit}) as found`.execute(transaction)
      if (Number(rows[0]?.n) < limit || !(await admit(userId, pattern, atMs, withinMs, transaction))) continue
      found.push({ pattern, activity, count: limit, withinMs })
    }
    return found
  }

  private async windowsOf(
    { types, withinMs, ofWindow }: CountRule,
    candidates: readonly CheckedActivity[],
    transaction: Transaction<Database>,
  ): Promise<ReadonlyMap<string, readonly { readonly start: number; readonly end: number; readonly count: number }[]>> {
    const { dialect } = this.options
    const users = [...new Set(candidates.map(({ userId }) => userId))]
    const first = candidates[0] as CheckedActivity
    const last = candidates[candidates.length - 1] as CheckedActivity
    const rows = await transaction
      .selectFrom('activity_windows')
      .select(['user_id', 'window_start_ms as start', 'window_end_ms as end', ofWindow.as('count')])
      .where(sql<boolean>`user_id in ${givenTexts(dialect, users)}`)
      .where('activity_type', 'in', types)
      .where('window_end_ms', '>', first.atMs - withinMs)
      .where('window_start_ms', '<=', last.atMs)
      .execute()
    return Map.groupBy(
      rows.map(({ user_id, start, end, count }) => ({ userId: user_id, start, end, count: Number(count) })),
      ({ userId }) => userId,
    )
  }

  private async oddLogins(
    stored: readonly CheckedActivity[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<readonly Suspicion[]> {
    const { settings } = this.options
    const found: Suspicion[] = []
    for (const { pattern, login } of await this.habits.learn(stored.filter(isLogin), transaction)) {
      const wanted = pattern === 'NEW_ADDRESS' ? settings.newAddress : settings.unusualHours
      if (!wanted || !isNews(login, nowMs)) continue
      // Every new address is told of once, since it is known then.
      const pauseMs = pattern === 'NEW_ADDRESS' ? null : ODDITY_PAUSE_MS
      if (pauseMs !== null && !(await admit(login.userId, pattern, login.atMs, pauseMs, transaction))) continue
      found.push({ pattern, activity: login, count: null, withinMs: null })
    }
    return found
  }

  private async tell(found: readonly Suspicion[], transaction: Transaction<Database>): Promise<void> {
    const { notifier, outbox, settings } = this.options
    const userIds = await overseers(['admin', 'auditor'], transaction)
    // Where there are no users nobody logs in, and whoever wants to be told says so.
    const recipients = { userIds, subscribers: userIds.length === 0 }
    await notifier.notify(
      found.map((suspicion) => ({ ...noticeOf(suspicion, settings.timeZone), recipients })),
      transaction,
    )
    const records = found.map((suspicion) => recordOf(suspicion, settings.timeZone))
    await outbox.append(
      records.map((record) => ({ topic: USER_ACTIVITY_ANALYTICS, ...record })),
      transaction,
    )
  }
}

/** The last of each user and stretch of time, in the order of time. */
function lastOfEach(activities: readonly CheckedActivity[], stretchMs: number): readonly CheckedActivity[] {
  const last = new Map<string, CheckedActivity>()
  for (const activity of activities) {
    const key = `${windowStart(activity.atMs, stretchMs)} ${activity.userId}`
    const before = last.get(key)
    if (before === undefined || before.atMs <= activity.atMs) last.set(key, activity)
  }
  return [...last.values()].sort((a, b) => a.atMs - b.atMs)
}

/** True for one that is told of now: the last of the user and pattern was longer ago than `pauseMs`. */
async function admit(
  userId: string,
  pattern: SuspicionPattern,
  atMs: number,
  pauseMs: number,
  transaction: Transaction<Database>,
): Promise<boolean> {
  const { rows } = await sql`
    insert into activity_suspicions (user_id, pattern, told_at_ms) values (${userId}, ${pattern}, ${atMs})
    on conflict (user_id, pattern) do update set told_at_ms = excluded.told_at_ms
    where activity_suspicions.told_at_ms <= excluded.told_at_ms - ${pauseMs}
      or activity_suspicions.told_at_ms > excluded.told_at_ms + ${TOLD_AHEAD_MS}
    returning user_id`.execute(transaction)
  return rows.length > 0
}

/** Of a login that its user tells of nothing is learnt: whoever has a stolen one would make it look usual so. */
function isLogin({ activityType, outcome, userId, recordedBy }: CheckedActivity): boolean {
  return activityType === 'login' && (outcome === null || outcome === 'SUCCESS') && recordedBy !== userId
}

function isFailedLogin({ activityType, outcome }: CheckedActivity): boolean {
  return activityType === 'login_failed' || (activityType === 'login' && outcome !== null && outcome !== 'SUCCESS')
}

function isNews({ atMs }: CheckedActivity, nowMs: number): boolean {
  return atMs >= nowMs - NEWS_MS
}
