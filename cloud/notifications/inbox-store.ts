/** Notifications in the database: stored once, listed by user, marked as read, and removed when they are old. */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import type { NotificationType, Severity } from './notice.ts'
import { NOTIFICATION_ID, type NotificationRow, type NotificationView, notificationView } from './notification.ts'

export interface NotificationFilter {
  /** True for those that are not read, false for those that are. */
  readonly unread?: boolean | undefined
  readonly type?: NotificationType | undefined
  readonly severity?: Severity | undefined
}

/** How much a user has not read. */
export interface UnreadCount {
  readonly userId: string
  readonly unread: number
  /** When a notification came or was read last, Unix milliseconds; 0 for never. */
  readonly changedAtMs: number
}

export type NewNotification = Omit<NotificationRow, 'read_at_ms'>

/** Runs in the transaction of a change; may run again, so it has no effect outside. */
export type With<T> = (changed: T, transaction: Transaction<Database>) => Promise<void>

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500
/** The clocks of cores differ by less. */
const CLOCKS_DIFFER_MS = 10_000
/** Rows that one statement marks as read, or removes. */
const ROWS_PER_STEP = 2_000

export class InboxStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock

  constructor(database: DatabaseHandle, clock: Clock) {
    this.database = database
    this.clock = clock
  }

  /** Resolves with the ids of those that were not there. */
  async insert(rows: readonly NewNotification[], transaction: Transaction<Database>): Promise<Set<string>> {
    const { dialect } = this.database
    // One order for all cores, so that two transactions cannot wait for each other's rows.
    const ordered = rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    const inserted = new Set<string>()
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      if (start > 0) await nextTurn()
      const given = givenRows(dialect, COLUMNS, ordered.slice(start, start + ROWS_PER_STATEMENT))
      const names = sql.join(Object.keys(COLUMNS).map((name) => sql.ref(name)))
      // SQLite needs the `where` to tell the conflict clause from a join.
      const { rows: added } = await sql<{ id: string }>`
        insert into notifications (${names}) select ${names} from ${given} where true order by id
        on conflict (id) do nothing
        returning id`.execute(transaction)
      for (const { id } of added) inserted.add(id)
    }
    return inserted
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(userId: string, request: PageRequest & NotificationFilter = {}): Promise<Page<NotificationView>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { unread, type, severity } = request
    let query = this.database.kysely
      .selectFrom('notifications')
      .selectAll()
      .where('user_id', '=', userId)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, NOTIFICATION_ID))
    if (unread !== undefined) query = query.where('read_at_ms', unread ? 'is' : 'is not', null)
    if (type !== undefined) query = query.where('type', '=', type)
    if (severity !== undefined) query = query.where('severity', '=', severity)
    return toPage(await query.execute(), limit, newestFirstKey, notificationView)
  }

  /** Counted in an index of what is not read. */
  async unreadCount(userId: string): Promise<UnreadCount> {
    return (await this.counts([{ userId, changedAtMs: 0 }]))[0] as UnreadCount
  }

  /** The notification, which is read then; null when the user has none of this id. Once is as good as twice. */
  async markRead(userId: string, id: string, also?: With<NotificationView>): Promise<NotificationView | null> {
    return await this.database.transaction(async (transaction) => {
      const nowMs = this.clock.wallMs()
      const { numUpdatedRows } = await transaction
        .updateTable('notifications')
        .set({ read_at_ms: nowMs })
        .where('id', '=', id)
        .where('user_id', '=', userId)
        .where('read_at_ms', 'is', null)
        .executeTakeFirst()
      if (numUpdatedRows > 0n) await this.noteRead(userId, nowMs, transaction)
      const row = await transaction
        .selectFrom('notifications')
        .selectAll()
        .where('id', '=', id)
        .where('user_id', '=', userId)
        .executeTakeFirst()
      if (row === undefined) return null
      const view = notificationView(row)
      await also?.(view, transaction)
      return view
    })
  }

  /**
   * Marks what was stored at `upToMs` or before, or everything when that is null, in several transactions when it is much, of
   * which `also` joins the last. Resolves with how many were unread.
   */
  async markAllRead(userId: string, upToMs: number | null, also?: With<number>): Promise<number> {
    const { dialect } = this.database
    // Bounded also for everything, so that it comes to an end. The clock of another core may be ahead.
    const newestMs = upToMs ?? this.clock.wallMs() + CLOCKS_DIFFER_MS
    let marked = 0
    for (let isDone = false; !isDone; await nextTurn()) {
      const step = await this.database.transaction(async (transaction) => {
        const nowMs = this.clock.wallMs()
        const { numUpdatedRows } = await transaction
          .updateTable('notifications')
          .set({ read_at_ms: nowMs })
          .where('read_at_ms', 'is', null)
          .where('id', 'in', (e) =>
            e
              .selectFrom('notifications')
              .select('id')
              .where('user_id', '=', userId)
              .where('read_at_ms', 'is', null)
              .where('created_at_ms', '<=', newestMs)
              .orderBy('created_at_ms')
              .orderBy('id')
              .limit(ROWS_PER_STEP)
              .$if(dialect === 'postgres', (query) => query.forUpdate()),
          )
          .executeTakeFirst()
        const updated = Number(numUpdatedRows)
        if (updated > 0) await this.noteRead(userId, nowMs, transaction)
        if (updated < ROWS_PER_STEP) await also?.(marked + updated, transaction)
        return updated
      })
      marked += step
      isDone = step < ROWS_PER_STEP
    }
    return marked
  }

  /** Marks everything of this type that the user was told about it. Resolves with how much was unread. */
  async markReadAbout(
    userId: string,
    relatedEntityId: string,
    type: NotificationType,
    transaction: Transaction<Database>,
  ): Promise<number> {
    const nowMs = this.clock.wallMs()
    const { numUpdatedRows } = await transaction
      .updateTable('notifications')
      .set({ read_at_ms: nowMs })
      .where('user_id', '=', userId)
      .where('read_at_ms', 'is', null)
      .where('related_entity_id', '=', relatedEntityId)
      .where('type', '=', type)
      .executeTakeFirst()
    if (numUpdatedRows > 0n) await this.noteRead(userId, nowMs, transaction)
    return Number(numUpdatedRows)
  }

  /** Users whose count may have changed at `sinceMs` or later, by that time and user; see ChangeFeed. */
  async unreadSince(sinceMs: number, limit: number, afterUserId: string): Promise<UnreadCount[]> {
    const { rows } = await sql<{ userId: string; changedAtMs: number }>`
      select user_id as ${sql.ref('userId')}, max(at_ms) as ${sql.ref('changedAtMs')} from (
        select user_id, created_at_ms as at_ms from notifications where created_at_ms >= ${sinceMs}
        union all
        select user_id, changed_at_ms from notification_reads where changed_at_ms >= ${sinceMs}
      ) as changes
      group by user_id
      having max(at_ms) > ${sinceMs} or user_id > ${afterUserId}
      order by 2, 1 limit ${limit}`.execute(this.database.kysely)
    return await this.counts(rows)
  }

  /** Removes at most one step of what was stored before `beforeMs`; resolves with how many rows, 0 when none is left. */
  async purge(beforeMs: number): Promise<number> {
    const { kysely } = this.database
    const notifications = await kysely
      .deleteFrom('notifications')
      .where('id', 'in', (e) =>
        e
          .selectFrom('notifications')
          .select('id')
          .where('created_at_ms', '<', beforeMs)
          .orderBy('created_at_ms')
          .limit(ROWS_PER_STEP),
      )
      .executeTakeFirst()
    await nextTurn()
    const notices = await kysely
      .deleteFrom('notification_burst_notices')
      .where('notice_key', 'in', (e) =>
        e
          .selectFrom('notification_burst_notices')
          .select('notice_key')
          .where('created_at_ms', '<', beforeMs)
          .orderBy('created_at_ms')
          .limit(ROWS_PER_STEP),
      )
      .executeTakeFirst()
    return Number(notifications.numDeletedRows) + Number(notices.numDeletedRows)
  }

  /** Never goes back, also when the clock of another core is ahead. */
  private async noteRead(userId: string, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    await sql`
      insert into notification_reads (user_id, changed_at_ms) values (${userId}, ${nowMs})
      on conflict (user_id) do update set changed_at_ms = case
        when notification_reads.changed_at_ms < excluded.changed_at_ms then excluded.changed_at_ms
        else notification_reads.changed_at_ms + 1 end`.execute(transaction)
  }

  private async counts(
    users: readonly Omit<UnreadCount, 'unread'>[],
    kysely: Kysely<Database> = this.database.kysely,
  ): Promise<UnreadCount[]> {
    if (users.length === 0) return []
    const ids = users.map(({ userId }) => userId)
    const rows = await kysely
      .selectFrom('notifications')
      .select((e) => ['user_id', e.fn.countAll<number>().as('unread')])
      .where(sql<boolean>`user_id in ${givenTexts(this.database.dialect, ids)}`)
      .where('read_at_ms', 'is', null)
      .groupBy('user_id')
      .execute()
    const unread = new Map(rows.map((row) => [row.user_id, row.unread]))
    return users.map((user) => ({ ...user, unread: unread.get(user.userId) ?? 0 }))
  }
}

const COLUMNS = {
  id: 'text',
  user_id: 'text',
  type: 'text',
  severity: 'text',
  title: 'text',
  content: 'text',
  related_entity_id: 'text',
  site_id: 'integer',
  quiet: 'integer',
  at_ms: 'bigint',
  created_at_ms: 'bigint',
} as const
