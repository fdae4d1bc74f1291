/** What notices of messages need of the database: how far members have come, what has not come to them, and who is to be told when. */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { parsedText } from '../database/stored-text.ts'
import type { Conversation } from './conversation.ts'
import { toConversation } from './conversation-store.ts'
import type { NoticeMarks, UntoldMessage } from './notice-plan.ts'

export interface Pair {
  readonly conversationId: string
  readonly userId: string
}

/** Who is to be told of what begins at `position`, unless it has come by then. */
export interface NoticeDue extends Pair {
  readonly position: number
  readonly dueAtMs: number
}

const PAIR = { conversation_id: 'text', user_id: 'text' } as const
/** Rows of one statement. */
const ROWS_PER_STATEMENT = 2_000

export class NoticeStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async conversations(ids: readonly string[], kysely: Kysely<Database>): Promise<Map<string, Conversation>> {
    const rows = await kysely
      .selectFrom('conversations')
      .selectAll()
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
      .execute()
    return new Map(rows.map((row) => [row.id, toConversation(row)]))
  }

  /**
   * Of those in it, where they are as of now, when `position` has not come to them; with when they are to be told, where that is
   * settled.
   */
  async lacking(
    pairs: readonly (Pair & { readonly position: number })[],
  ): Promise<(NoticeMarks & { readonly dueAtMs: number | null })[]> {
    const { dialect, kysely } = this.database
    const lacking: (NoticeMarks & { dueAtMs: number | null })[] = []
    for (const some of inSteps(pairs)) {
      const rows = some.map((pair) => ({ ...rowOf(pair), position: pair.position }))
      const { rows: found } = await sql<NoticeMarks & { dueAtMs: number | null }>`
        select ${MARKS}, due.due_at_ms as ${sql.ref('dueAtMs')}
        from ${givenRows(dialect, { ...PAIR, position: 'bigint' }, rows)}
        join conversation_members as m
          on m.conversation_id = given.conversation_id and m.user_id = given.user_id and m.left_at_ms is null
        left join chat_notices_due as due
          on due.conversation_id = m.conversation_id and due.user_id = m.user_id
        where m.delivered_position < given.position`.execute(kysely)
      lacking.push(...found)
    }
    return lacking
  }

  /** From now on nobody else moves their marks; in one order for everybody. Who is no member is left out. */
  async lock(pairs: readonly Pair[], transaction: Transaction<Database>): Promise<NoticeMarks[]> {
    const { dialect } = this.database
    const ordered = pairs.toSorted((a, b) => compare(a.conversationId, b.conversationId) || compare(a.userId, b.userId))
    const locked: NoticeMarks[] = []
    for (const some of inSteps(ordered)) {
      const { rows } = await sql<NoticeMarks>`
        select ${MARKS} from ${givenRows(dialect, PAIR, some.map(rowOf))}
        join conversation_members as m
          on m.conversation_id = given.conversation_id and m.user_id = given.user_id and m.left_at_ms is null
        order by m.conversation_id, m.user_id
        ${dialect === 'postgres' ? sql`for update of m` : sql``}`.execute(transaction)
      locked.push(...rows)
    }
    return locked
  }

  /** Those of the messages that say nothing any more. */
  async deleted(messageIds: readonly string[]): Promise<Set<string>> {
    const rows = await this.database.kysely
      .selectFrom('chat_messages')
      .select('id')
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, messageIds)}`)
      .where('deleted_at_ms', 'is not', null)
      .execute()
    return new Set(rows.map((row) => row.id))
  }

  /** To be called for members who are locked. */
  async setNotified(
    notified: readonly (Pair & { readonly position: number })[],
    transaction: Transaction<Database>,
  ): Promise<void> {
    for (const some of inSteps(notified)) {
      const rows = some.map((pair) => ({ ...rowOf(pair), position: pair.position }))
      await sql`
        update conversation_members set notified_position = given.position
        from ${givenRows(this.database.dialect, { ...PAIR, position: 'bigint' }, rows)}
        where conversation_members.conversation_id = given.conversation_id
          and conversation_members.user_id = given.user_id
          and conversation_members.notified_position < given.position`.execute(transaction)
    }
  }

  /** Who is to be told already stays so: that is of something older. To be called for members who are locked. */
  async addDue(due: readonly NoticeDue[], transaction: Transaction<Database>): Promise<void> {
    for (const some of inSteps(due)) await this.writeDue(some, sql`do nothing`, transaction)
  }

  /** Who is to be told is now to be told then. */
  async moveDue(due: readonly NoticeDue[], transaction: Transaction<Database>): Promise<void> {
    const change = sql`do update set position = excluded.position, due_at_ms = excluded.due_at_ms`
    for (const some of inSteps(due)) await this.writeDue(some, change, transaction)
  }

  async removeDue(pairs: readonly Pair[], transaction: Transaction<Database>): Promise<void> {
    if (pairs.length === 0) return
    await sql`
      delete from chat_notices_due where (conversation_id, user_id) in (
        select conversation_id, user_id from ${givenRows(this.database.dialect, PAIR, pairs.map(rowOf))}
      )`.execute(transaction)
  }

  /** The first of those who are to be told by now. */
  async due(nowMs: number, limit: number): Promise<NoticeDue[]> {
    return await this.database.kysely
      .selectFrom('chat_notices_due')
      .select(['conversation_id as conversationId', 'user_id as userId', 'position', 'due_at_ms as dueAtMs'])
      .where('due_at_ms', '<=', nowMs)
      .orderBy('due_at_ms')
      .limit(limit)
      .execute()
  }

  /** Those of them who still are to be told, as it is now. */
  async dueOf(pairs: readonly Pair[], transaction: Transaction<Database>): Promise<NoticeDue[]> {
    const { rows } = await sql<NoticeDue>`
      select due.conversation_id as ${sql.ref('conversationId')}, due.user_id as ${sql.ref('userId')},
        due.position, due.due_at_ms as ${sql.ref('dueAtMs')}
      from ${givenRows(this.database.dialect, PAIR, pairs.map(rowOf))}
      join chat_notices_due as due
        on due.conversation_id = given.conversation_id and due.user_id = given.user_id`.execute(transaction)
    return rows
  }

  /** Messages of others from `position` on that have not come to the member, the first of them. */
  async undelivered(
    { conversationId, userId, deliveredPosition }: NoticeMarks,
    position: number,
    limit: number,
    transaction: Transaction<Database>,
  ): Promise<UntoldMessage[]> {
    const rows = await transaction
      .selectFrom('chat_messages')
      .select(['id', 'sender_id', 'content', 'position', 'mentions', 'sent_at_ms'])
      .where('conversation_id', '=', conversationId)
      .where('position', '>=', Math.max(position, deliveredPosition + 1))
      .where('kind', '=', 'MESSAGE')
      .where('sender_id', '<>', userId)
      .where('deleted_at_ms', 'is', null)
      .orderBy('position')
      .limit(limit)
      .execute()
    return rows.map((row) => ({
      conversationId,
      messageId: row.id,
      senderId: row.sender_id,
      content: row.content,
      position: row.position,
      mentions: (parsedText(row.mentions) ?? []) as readonly string[],
      sentAtMs: row.sent_at_ms,
    }))
  }

  private async writeDue(
    due: readonly NoticeDue[],
    onConflict: ReturnType<typeof sql>,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const columns = { ...PAIR, position: 'bigint', due_at_ms: 'bigint' } as const
    const rows = due.map((each) => ({ ...rowOf(each), position: each.position, due_at_ms: each.dueAtMs }))
    // SQLite needs the `where` to tell the conflict clause from a join.
    await sql`
      insert into chat_notices_due (conversation_id, user_id, position, due_at_ms)
      select conversation_id, user_id, position, due_at_ms
      from ${givenRows(this.database.dialect, columns, rows)} where true
      on conflict (conversation_id, user_id) ${onConflict}`.execute(transaction)
  }
}

const MARKS = sql`
  m.conversation_id as ${sql.ref('conversationId')}, m.user_id as ${sql.ref('userId')},
  m.read_position as ${sql.ref('readPosition')}, m.delivered_position as ${sql.ref('deliveredPosition')},
  m.notified_position as ${sql.ref('notifiedPosition')}`

function rowOf({ conversationId, userId }: Pair) {
  return { conversation_id: conversationId, user_id: userId }
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function* inSteps<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    yield rows.slice(start, start + ROWS_PER_STATEMENT)
  }
}
