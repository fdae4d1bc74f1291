/**
 * Notifications to people: the public face of this folder. What services have to tell is stored in their own transactions, once
 * a user, with a record for the topic `notifications`; the records reach sockets and webhooks.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { NOTIFICATIONS } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import { sitesSeen } from '../identity/identity.ts'
import { type Burst, type BurstNotice, type BurstSettings, burstKey, gather, summaryOf } from './burst.ts'
import { BurstStore } from './burst-store.ts'
import { FanOut } from './fan-out.ts'
import { InboxStore } from './inbox-store.ts'
import { NOTIFICATION_TYPES, type Notice, type NotificationType, type Notifier, USER_ID_PATTERN } from './notice.ts'
import { digest, encodeNotification, type Telling, tellingOf } from './notification.ts'
import { PreferenceStore } from './preference-store.ts'
import { DEFAULT_PREFERENCES, type Preferences } from './preferences.ts'
import { mayBeTold, rowsOf } from './told.ts'

export type { UnreadCount } from './inbox-store.ts'
export * from './notice.ts'
export { encodeNotification, NOTIFICATION_ID, type NotificationView } from './notification.ts'
export type { Preferences } from './preferences.ts'
export { SITES_MAX } from './preferences.ts'
export { TIME_OF_DAY, WEEKDAYS } from './quiet-hours.ts'
export { taskNotice } from './task-notice.ts'

export interface NotificationSettings extends BurstSettings {
  readonly keptDays: number
}

export interface NotificationsOptions {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly settings: NotificationSettings
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly clock: Clock
  readonly log: Logger
}

/** Since the start. What a transaction stored that was rolled back afterwards is counted as well. */
export interface NotificationStats {
  /** One for each user. */
  readonly stored: Readonly<Record<NotificationType, number>>
  /** Those that were there already. */
  readonly repeated: number
  /** Notices that were put off to a summary, and summaries. */
  readonly held: number
  readonly summaries: number
  /** Recipients who cannot be users. */
  readonly recipientsInvalid: number
  /** Removed because of their age. */
  readonly purged: number
}

/** The header `source` of the records. */
const SOURCE = 'notification'
const SUMMARY_PERIOD_MS = 1_000
/** Bursts that end in one transaction. */
const BURSTS_PER_STEP = 50
const PURGE_PERIOD_MS = 60 * 60 * 1000

export class Notifications implements Notifier, Part {
  readonly name = 'notifications'
  /** What users see of it. */
  readonly inbox: InboxStore
  readonly preferences: PreferenceStore
  private readonly options: NotificationsOptions
  private readonly bursts: BurstStore
  private readonly fanOut: FanOut
  private readonly duties: readonly Duty[]
  private readonly stored = Object.fromEntries(NOTIFICATION_TYPES.map((type) => [type, 0])) as Record<
    NotificationType,
    number
  >
  private readonly stopping = new AbortController()
  /** Something was put off here, maybe by a transaction that was rolled back; and it is being told. */
  private putOff = false
  private fanningOut: Promise<void> | null = null
  private readonly counts = { repeated: 0, held: 0, summaries: 0, recipientsInvalid: 0, purged: 0 }

  constructor(options: NotificationsOptions) {
    const { database, settings, coreId, clock, log } = options
    this.options = options
    this.inbox = new InboxStore(database, clock)
    this.preferences = new PreferenceStore(database, clock)
    this.bursts = new BurstStore(database)
    this.fanOut = new FanOut({
      database,
      preferences: this.preferences,
      store: (telling, preferences, transaction) => this.insert([telling], preferences, clock.wallMs(), transaction),
    })
    const common = { database, coreId, clock, log }
    this.duties = [
      new Duty({
        ...common,
        name: 'notification summaries',
        periodMs: Math.min(SUMMARY_PERIOD_MS, settings.burstWindowMs),
        work: async (signal) => {
          await this.endBursts(signal)
          // What this core was told of is told at once (nudge); this is for what is left of others.
          await this.fanOut.run(signal, () => this.options.outbox.nudge())
        },
      }),
      new Duty({
        ...common,
        name: 'notification purge',
        periodMs: PURGE_PERIOD_MS,
        work: (signal) => this.purge(signal),
      }),
    ]
  }

  /** Starts telling what was held, and removing what is old; `notify` works without. */
  async start(): Promise<void> {
    for (const duty of this.duties) await duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping.abort()
    await Promise.all([...this.duties.map((duty) => duty.stop(deadline)), this.fanningOut])
  }

  async notify(notices: readonly Notice[], transaction: Transaction<Database>): Promise<void> {
    const nowMs = this.options.clock.wallMs()
    const alone = notices.filter((notice) => notice.burst === undefined)
    const { told, summaries } = await this.takeBursts(notices.filter(isOfBurst), nowMs, transaction)
    await this.store([...summaries, ...[...alone, ...told].map(tellingOf)], nowMs, transaction)
  }

  nudge(): void {
    const { outbox } = this.options
    outbox.nudge()
    if (!this.putOff || this.fanningOut !== null) return
    this.putOff = false
    // What fails here the duty does again, and says why.
    this.fanningOut = this.fanOut
      .run(this.stopping.signal, () => outbox.nudge())
      .catch(() => undefined)
      .finally(() => {
        this.fanningOut = null
      })
  }

  stats(): NotificationStats {
    return { stored: { ...this.stored }, ...this.counts }
  }

  /** What is to be told now; the rest is held. */
  private async takeBursts(
    notices: readonly BurstNotice[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<{ readonly told: readonly BurstNotice[]; readonly summaries: readonly Telling[] }> {
    if (notices.length === 0) return { told: [], summaries: [] }
    const byKey = new Map(notices.map((notice) => [admissionKey(notice), notice]))
    const admitted = await this.bursts.admit([...byKey.keys()], nowMs, transaction)
    this.counts.repeated += notices.length - admitted.size
    const fresh = [...byKey].flatMap(([key, notice]) => (admitted.has(key) ? [notice] : []))
    if (fresh.length === 0) return { told: [], summaries: [] }
    const groups = Map.groupBy(fresh, burstKey)
    const before = await this.bursts.lock([...groups.keys()], transaction)
    const after = new Map<string, Burst>()
    const told: BurstNotice[] = []
    const summaries: Telling[] = []
    for (const [key, group] of groups) {
      const gathered = gather(before.get(key) ?? null, group, nowMs, this.options.settings)
      after.set(key, gathered.burst)
      told.push(...gathered.told)
      this.counts.held += gathered.heldCount
      if (gathered.summary !== null) summaries.push(gathered.summary)
    }
    await this.bursts.save(after, transaction)
    this.counts.summaries += summaries.length
    return { told, summaries }
  }

  /** Rows and records for whoever is to be told of these, but for those who were. */
  private async store(tellings: readonly Telling[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    if (tellings.length === 0) return
    const { atOnce, isPutOff } = await this.fanOut.putOff(tellings, nowMs, transaction)
    this.putOff ||= isPutOff
    const named = [...new Set(atOnce.flatMap(namedUsers))]
    const users = named.filter((userId) => USER_ID_PATTERN.test(userId))
    this.counts.recipientsInvalid += named.length - users.length
    const preferences = atOnce.some(asksSubscribers)
      ? await this.preferences.ofEverybody(transaction)
      : await this.preferences.ofUsers(users, transaction)
    for (const userId of users) if (!preferences.has(userId)) preferences.set(userId, DEFAULT_PREFERENCES)
    await this.insert(atOnce, preferences, nowMs, transaction)
  }

  private async insert(
    tellings: readonly Telling[],
    preferences: ReadonlyMap<string, Preferences>,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const { dialect } = this.options.database
    const seen = await sitesSeen(mayBeTold(tellings, preferences), transaction, dialect)
    const rows = tellings.flatMap((telling) => rowsOf(telling, preferences, seen, nowMs))
    if (rows.length === 0) return
    const inserted = await this.inbox.insert(rows, transaction)
    const records: OutboxRecord[] = []
    for (const row of rows) {
      // Told twice at once it is in the rows twice.
      if (!inserted.delete(row.id)) continue
      this.stored[row.type as NotificationType]++
      records.push({
        topic: NOTIFICATIONS,
        key: row.user_id,
        value: encodeNotification(row),
        headers: { source: SOURCE },
      })
    }
    this.counts.repeated += rows.length - records.length
    await this.options.outbox.append(records, transaction)
  }

  private async endBursts(signal: AbortSignal): Promise<void> {
    const { database, clock, settings } = this.options
    for (let ended = BURSTS_PER_STEP; ended === BURSTS_PER_STEP && !signal.aborted; ) {
      const nowMs = clock.wallMs()
      const { all, told } = await database.transaction(async (transaction) => {
        const bursts = await this.bursts.lockEnded(nowMs, settings.burstWindowMs, BURSTS_PER_STEP, transaction)
        const summaries = [...bursts.values()].flatMap(({ held }) => (held === null ? [] : [summaryOf(held)]))
        await this.store(summaries, nowMs, transaction)
        if (bursts.size > 0) await this.bursts.end([...bursts.keys()], transaction)
        return { all: bursts.size, told: summaries.length }
      })
      ended = all
      this.counts.summaries += told
      if (told > 0) this.nudge()
    }
  }

  private async purge(signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.options
    const beforeMs = clock.wallMs() - settings.keptDays * DAY_MS
    for (let removed = 1; removed > 0 && !signal.aborted; await nextTurn()) {
      removed = await this.inbox.purge(beforeMs)
      this.counts.purged += removed
    }
  }
}

function isOfBurst(notice: Notice): notice is BurstNotice {
  return notice.burst !== undefined
}

/** The same notice for other people is another one. */
function admissionKey({ key, recipients }: Notice): string {
  return digest(JSON.stringify([key, recipients.userIds, recipients.subscribers]))
}

function namedUsers({ audiences }: Telling): readonly string[] {
  return audiences.flatMap(({ recipients }) => recipients.userIds)
}

function asksSubscribers({ audiences }: Telling): boolean {
  return audiences.some(({ recipients }) => recipients.subscribers)
}
