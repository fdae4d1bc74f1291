/**
 * Presence in the database: which users have a socket at which core, and what is shown of them. Whoever changes that of a user
 * locks first what is shown of them, so that of two cores the later one counts what the other has changed.
 */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { type Subject, subjectOf } from './conversation.ts'
import { bestOf, type PresenceOfUser, type PresenceState } from './presence-state.ts'

export interface StoredPresence {
  readonly userId: string
  readonly state: PresenceState
  readonly lastSeenAtMs: number
  readonly updatedAtMs: number
}

/** Two who share a conversation. */
export interface Shared {
  readonly changed: string
  readonly local: string
  /** Of one that is about something; '' of all others. */
  readonly id: string
  readonly subject: Subject | null
}

/** A core that says it is alive later than this many times `offlineAfterMs` from now said so by a clock that was set back. */
const AHEAD_MAX = 10

export class PresenceStore {
  private readonly database: DatabaseHandle
  private readonly offlineAfterMs: number

  constructor(database: DatabaseHandle, offlineAfterMs: number) {
    this.database = database
    this.offlineAfterMs = offlineAfterMs
  }

  /**
   * The core is alive, and this has changed there. False when it was not known, in which case nothing of it was: it is from
   * now on, and `changes` are not stored.
   */
  async write(coreId: string, changes: readonly PresenceOfUser[], nowMs: number): Promise<boolean> {
    return await this.database.transaction(async (transaction) => {
      const { numUpdatedRows } = await transaction
        .updateTable('chat_cores')
        .set({ seen_at_ms: nowMs })
        .where('core_id', '=', coreId)
        .executeTakeFirst()
      if (numUpdatedRows === 0n) {
        await transaction.insertInto('chat_cores').values({ core_id: coreId, seen_at_ms: nowMs }).execute()
        return false
      }
      if (changes.length === 0) return true
      const userIds = changes.map(({ userId }) => userId)
      const before = await this.lock(userIds, nowMs, transaction)
      const isGone = ({ state }: PresenceOfUser) => state === 'offline'
      await this.disconnect(coreId, changes.filter(isGone), transaction)
      await this.connect(
        coreId,
        changes.filter((change) => !isGone(change)),
        transaction,
      )
      await this.show(before, { nowMs, seenAtMs: nowMs }, transaction)
      return true
    })
  }

  /** Cores that said nothing for too long. */
  async dead(nowMs: number): Promise<string[]> {
    const rows = await this.database.kysely
      .selectFrom('chat_cores')
      .select('core_id')
      .where((e) => e.not(this.isAlive(nowMs)))
      .orderBy('core_id')
      .execute()
    return rows.map((row) => row.core_id)
  }

  /**
   * Takes away what a core has, unless it is alive after all.
   * @param isStopping of the core itself, which is alive.
   */
  async remove(coreId: string, nowMs: number, isStopping: boolean): Promise<boolean> {
    return await this.database.transaction(async (transaction) => {
      const removed = await transaction
        .deleteFrom('chat_cores')
        .where('core_id', '=', coreId)
        .$if(!isStopping, (query) => query.where((e) => e.not(this.isAlive(nowMs))))
        .returning('seen_at_ms')
        .executeTakeFirst()
      if (removed === undefined) return false
      const rows = await transaction
        .selectFrom('chat_connections')
        .select('user_id')
        .where('core_id', '=', coreId)
        .execute()
      if (rows.length === 0) return true
      const userIds = rows.map((row) => row.user_id)
      const before = await this.lock(userIds, nowMs, transaction)
      await transaction.deleteFrom('chat_connections').where('core_id', '=', coreId).execute()
      const seenAtMs = isStopping ? nowMs : Math.min(removed.seen_at_ms, nowMs)
      await this.show(before, { nowMs, seenAtMs }, transaction)
      return true
    })
  }

  /** Those that are known, in any order. */
  async of(userIds: readonly string[]): Promise<StoredPresence[]> {
    const { dialect, kysely } = this.database
    const rows = await kysely
      .selectFrom('chat_presence')
      .selectAll()
      .where(sql<boolean>`user_id in ${givenTexts(dialect, userIds)}`)
      .execute()
    return rows.map(toStored)
  }

  /** Those who have a socket at a core that is alive. */
  async connected(userIds: readonly string[], nowMs: number, kysely: Kysely<Database>): Promise<string[]> {
    const rows = await kysely
      .selectFrom('chat_connections')
      .innerJoin('chat_cores', 'chat_cores.core_id', 'chat_connections.core_id')
      .select('user_id')
      .distinct()
      .where(sql<boolean>`user_id in ${givenTexts(this.database.dialect, userIds)}`)
      .where(this.isAlive(nowMs))
      .execute()
    return rows.map((row) => row.user_id)
  }

  async changedSince(sinceMs: number, limit: number, afterUserId: string): Promise<StoredPresence[]> {
    const rows = await this.database.kysely
      .selectFrom('chat_presence')
      .selectAll()
      .where((e) =>
        e.or([
          e('updated_at_ms', '>', sinceMs),
          e.and([e('updated_at_ms', '=', sinceMs), e('user_id', '>', afterUserId)]),
        ]),
      )
      .orderBy('updated_at_ms')
      .orderBy('user_id')
      .limit(limit)
      .execute()
    return rows.map(toStored)
  }

  /** Pairs of one who changed and a local one, who share a conversation of at most `membersMax` members. */
  async sharing(
    changedUserIds: readonly string[],
    localUserIds: readonly string[],
    membersMax: number,
  ): Promise<Shared[]> {
    const { dialect, kysely } = this.database
    // One row of all that are about nothing, and one of each that is about something.
    const { rows } = await sql<
      Pick<Shared, 'changed' | 'local'> & { id: string; kind: string; subject: string | null }
    >`
      with shared as (
        select conversation_id, user_id from conversation_members
        where user_id in ${givenTexts(dialect, changedUserIds)} and left_at_ms is null
      ), small as (
        select conversation_id from conversation_members
        where conversation_id in (select conversation_id from shared) and left_at_ms is null
        group by conversation_id having count(*) <= ${membersMax}
      )
      select distinct shared.user_id as changed, others.user_id as local,
        case when about.subject_id is null then '' else about.id end as id,
        case when about.subject_id is null then '' else about.kind end as kind, about.subject_id as subject
      from shared
      join small on small.conversation_id = shared.conversation_id
      join conversations as about on about.id = shared.conversation_id
      join conversation_members as others on others.conversation_id = shared.conversation_id
      where others.left_at_ms is null and others.user_id <> shared.user_id
        and others.user_id in ${givenTexts(dialect, localUserIds)}
      order by 1, 2`.execute(kysely)
    return rows.map(({ kind, subject, ...pair }) => ({ ...pair, subject: subjectOf(kind, subject) }))
  }

  /** What was shown of each of them; from now on nobody else changes it. */
  private async lock(userIds: readonly string[], nowMs: number, transaction: Transaction<Database>) {
    const { dialect } = this.database
    const rows = userIds.map((user_id) => ({ user_id }))
    // SQLite needs the `where` to tell the conflict clause from a join.
    await sql`
      insert into chat_presence (user_id, state, last_seen_at_ms, updated_at_ms)
      select user_id, 'offline', cast(${nowMs} as bigint), cast(${nowMs} as bigint)
      from ${givenRows(dialect, { user_id: 'text' }, rows)} where true order by user_id
      on conflict (user_id) do nothing`.execute(transaction)
    return await transaction
      .selectFrom('chat_presence')
      .selectAll()
      .where(sql<boolean>`user_id in ${givenTexts(dialect, userIds)}`)
      .orderBy('user_id')
      .$if(dialect === 'postgres', (query) => query.forUpdate())
      .execute()
  }

  private async connect(coreId: string, changes: readonly PresenceOfUser[], transaction: Transaction<Database>) {
    if (changes.length === 0) return
    const rows = changes.map(({ userId, state }) => ({ user_id: userId, state }))
    await sql`
      insert into chat_connections (core_id, user_id, state)
      select cast(${coreId} as text), user_id, state
      from ${givenRows(this.database.dialect, { user_id: 'text', state: 'text' }, rows)} where true
      on conflict (core_id, user_id) do update set state = excluded.state`.execute(transaction)
  }

  private async disconnect(coreId: string, changes: readonly PresenceOfUser[], transaction: Transaction<Database>) {
    if (changes.length === 0) return
    const userIds = changes.map(({ userId }) => userId)
    await transaction
      .deleteFrom('chat_connections')
      .where('core_id', '=', coreId)
      .where(sql<boolean>`user_id in ${givenTexts(this.database.dialect, userIds)}`)
      .execute()
  }

  /** Shows of them what their sockets at all cores are now. */
  private async show(
    before: Awaited<ReturnType<PresenceStore['lock']>>,
    { nowMs, seenAtMs }: { readonly nowMs: number; readonly seenAtMs: number },
    transaction: Transaction<Database>,
  ): Promise<void> {
    const { dialect } = this.database
    const userIds = before.map((row) => row.user_id)
    const connections = await transaction
      .selectFrom('chat_connections')
      .innerJoin('chat_cores', 'chat_cores.core_id', 'chat_connections.core_id')
      .select(['user_id', 'state'])
      .where(sql<boolean>`user_id in ${givenTexts(dialect, userIds)}`)
      .where(this.isAlive(nowMs))
      .execute()
    const states = Map.groupBy(connections, (row) => row.user_id)
    const changed = before.flatMap((row) => {
      const state = bestOf((states.get(row.user_id) ?? []).map((each) => each.state))
      if (state === row.state) return []
      // Never goes back, also when the clock of another core is ahead.
      const updatedAtMs = Math.max(nowMs, row.updated_at_ms + 1)
      return [{ user_id: row.user_id, state, updated_at_ms: updatedAtMs }]
    })
    if (changed.length === 0) return
    const columns = { user_id: 'text', state: 'text', updated_at_ms: 'bigint' } as const
    await sql`
      update chat_presence set state = given.state, updated_at_ms = given.updated_at_ms,
        last_seen_at_ms = cast(${seenAtMs} as bigint)
      from ${givenRows(dialect, columns, changed)}
      where chat_presence.user_id = given.user_id`.execute(transaction)
  }

  private isAlive(nowMs: number) {
    const { offlineAfterMs } = this
    return sql<boolean>`(chat_cores.seen_at_ms >= ${nowMs - offlineAfterMs}
      and chat_cores.seen_at_ms <= ${nowMs + AHEAD_MAX * offlineAfterMs})`
  }
}

function toStored(row: { user_id: string; state: string; last_seen_at_ms: number; updated_at_ms: number }) {
  return {
    userId: row.user_id,
    state: row.state as PresenceState,
    lastSeenAtMs: row.last_seen_at_ms,
    updatedAtMs: row.updated_at_ms,
  } satisfies StoredPresence
}
