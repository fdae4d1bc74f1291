/** Conversations and their members in the database. */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { ConversationMembersTable, ConversationsTable } from '../database/schema-chat.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { type Conversation, type ConversationKind, type Member, type MemberRole, subjectOf } from './conversation.ts'

/** Members that one statement adds. */
const ROWS_PER_STATEMENT = 500

export class ConversationStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async get(id: string, kysely: Kysely<Database> = this.database.kysely): Promise<Conversation | null> {
    const row = await kysely.selectFrom('conversations').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toConversation(row)
  }

  /** Kept from changing until the transaction ends. */
  async lock(id: string, transaction: Transaction<Database>): Promise<Conversation | null> {
    return (await this.lockAll([id], transaction)).get(id) ?? null
  }

  /** Those that there are, locked in the order of their ids, so that two transactions do not wait for each other. */
  async lockAll(ids: readonly string[], transaction: Transaction<Database>): Promise<Map<string, Conversation>> {
    const rows = await transaction
      .selectFrom('conversations')
      .selectAll()
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
      .orderBy('id')
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate())
      .execute()
    return new Map(rows.map((row) => [row.id, toConversation(row)]))
  }

  /** False when there is one of this id, which stays as it is. */
  async insert(conversation: Conversation, transaction: Transaction<Database>): Promise<boolean> {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('conversations')
      .values({
        id: conversation.id,
        kind: conversation.kind,
        title: conversation.title,
        subject_id: conversation.subject?.id ?? null,
        last_revision: conversation.lastRevision,
        created_by: conversation.createdBy,
        created_at_ms: conversation.createdAtMs,
        updated_at_ms: conversation.updatedAtMs,
      })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .executeTakeFirst()
    return Number(numInsertedOrUpdatedRows ?? 0) > 0
  }

  async setTitle(id: string, title: string, transaction: Transaction<Database>): Promise<void> {
    await transaction.updateTable('conversations').set({ title }).where('id', '=', id).execute()
  }

  /** @param archived null opens it again. */
  async setArchived(
    id: string,
    archived: { readonly by: string; readonly atMs: number } | null,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await transaction
      .updateTable('conversations')
      .set({ archived_at_ms: archived?.atMs ?? null, archived_by: archived?.by ?? null })
      .where('id', '=', id)
      .execute()
  }

  /** Also who has left it; null for who was never in it. */
  async member(conversationId: string, userId: string, kysely: Kysely<Database>): Promise<Member | null> {
    const row = await kysely
      .selectFrom('conversation_members')
      .selectAll()
      .where('conversation_id', '=', conversationId)
      .where('user_id', '=', userId)
      .executeTakeFirst()
    return row === undefined ? null : toMember(row)
  }

  /** By conversation, those who are in it, by user; one without members is left out. */
  async members(conversationIds: readonly string[], kysely: Kysely<Database>): Promise<Map<string, Member[]>> {
    const rows = await kysely
      .selectFrom('conversation_members')
      .selectAll()
      .where(sql<boolean>`conversation_id in ${givenTexts(this.database.dialect, conversationIds)}`)
      .where('left_at_ms', 'is', null)
      .orderBy('conversation_id')
      .orderBy('user_id')
      .execute()
    return Map.groupBy(rows.map(toMember), ({ conversationId }) => conversationId)
  }

  async membersOf(conversationId: string, kysely: Kysely<Database>): Promise<readonly Member[]> {
    return (await this.members([conversationId], kysely)).get(conversationId) ?? []
  }

  /** By user. @throws InvalidRegistrationError for limit and cursor. */
  async memberPage(conversationId: string, request: PageRequest): Promise<Page<Member>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.database.kysely
      .selectFrom('conversation_members')
      .selectAll()
      .where('conversation_id', '=', conversationId)
      .where('left_at_ms', 'is', null)
      .orderBy('user_id')
      .limit(limit + 1)
    if (after !== null) query = query.where('user_id', '>', after)
    return toPage(await query.execute(), limit, (row) => row.user_id, toMember)
  }

  /** Of those who are in as many conversations as `max` or more, one; null when there is none. */
  async fullUser(userIds: readonly string[], max: number, transaction: Transaction<Database>): Promise<string | null> {
    const row = await transaction
      .selectFrom('conversation_members')
      .select('user_id')
      .where(sql<boolean>`user_id in ${givenTexts(this.database.dialect, userIds)}`)
      .where('left_at_ms', 'is', null)
      .groupBy('user_id')
      .having(({ fn }) => fn.countAll<number>(), '>=', max)
      .orderBy('user_id')
      .limit(1)
      .executeTakeFirst()
    return row?.user_id ?? null
  }

  /**
   * Lets them in, each with the marks at `position`, or where they were if that is further: what came before they joined is
   * neither unread nor on its way to them.
   * @param members who are not in it.
   */
  async join(
    conversationId: string,
    members: readonly { readonly userId: string; readonly role: MemberRole }[],
    position: number,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const rows = members.map(({ userId, role }) => ({ user_id: userId, role }))
    for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
      const given = givenRows(this.database.dialect, MEMBER_COLUMNS, rows.slice(start, start + ROWS_PER_STATEMENT))
      const place = sql`cast(${position} as bigint)`
      // SQLite needs the `where` to tell the conflict clause from a join.
      await sql`
        insert into conversation_members
          (conversation_id, user_id, role, joined_at_ms, read_position, delivered_position, notified_position)
        select cast(${conversationId} as text), user_id, role, cast(${nowMs} as bigint), ${place}, ${place}, ${place}
        from ${given} where true order by user_id
        on conflict (conversation_id, user_id) do update set
          role = excluded.role, joined_at_ms = excluded.joined_at_ms, left_at_ms = null,
          read_position = ${further('read_position')},
          delivered_position = ${further('delivered_position')},
          notified_position = ${further('notified_position')}`.execute(transaction)
    }
  }

  async leave(conversationId: string, userId: string, nowMs: number, transaction: Transaction<Database>) {
    await transaction
      .updateTable('conversation_members')
      .set({ left_at_ms: nowMs })
      .where('conversation_id', '=', conversationId)
      .where('user_id', '=', userId)
      .execute()
  }

  async setRole(conversationId: string, userId: string, role: MemberRole, transaction: Transaction<Database>) {
    await transaction
      .updateTable('conversation_members')
      .set({ role })
      .where('conversation_id', '=', conversationId)
      .where('user_id', '=', userId)
      .execute()
  }
}

const MEMBER_COLUMNS = { user_id: 'text', role: 'text' } as const

/** Of two marks; a mark never goes back. */
function further(column: string) {
  const [before, now] = [sql.ref(`conversation_members.${column}`), sql.ref(`excluded.${column}`)]
  return sql`case when ${before} > ${now} then ${before} else ${now} end`
}

export function toConversation(row: Selectable<ConversationsTable>): Conversation {
  return {
    id: row.id,
    kind: row.kind as ConversationKind,
    title: row.title,
    subject: subjectOf(row.kind, row.subject_id),
    lastRevision: row.last_revision,
    lastMessageAtMs: row.last_message_at_ms,
    createdBy: row.created_by,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
    archivedAtMs: row.archived_at_ms,
    archivedBy: row.archived_by,
  }
}

export function toMember(row: Selectable<ConversationMembersTable>): Member {
  return {
    conversationId: row.conversation_id,
    userId: row.user_id,
    role: row.role as MemberRole,
    joinedAtMs: row.joined_at_ms,
    leftAtMs: row.left_at_ms,
    readPosition: row.read_position,
    deliveredPosition: row.delivered_position,
    readAtMs: row.read_at_ms,
    deliveredAtMs: row.delivered_at_ms,
  }
}
