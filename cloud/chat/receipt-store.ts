/** The marks of members in the database, and who wrote what they pass. */

import { sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { type Subject, subjectOf } from './conversation.ts'
import type { Mark } from './delivered-queue.ts'

/** Where the marks of a member are, and how far the conversation has come. */
export interface StoredMarks {
  readonly conversationId: string
  readonly userId: string
  readonly readPosition: number
  readonly deliveredPosition: number
  readonly lastRevision: number
  readonly subject: Subject | null
}

/** A mark that goes up. */
export interface Advance extends Mark {
  /** Where it was. */
  readonly from: number
}

/** What a mark passed. */
export interface Passed {
  /** The newest message up to it; null when none is kept. */
  readonly messageId: string | null
  /** Who wrote the messages that it passed, and is in the conversation. */
  readonly senderIds: readonly string[]
}

export class ReceiptStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** From now on nobody else moves them; in one order for everybody. Who is no member is left out. */
  async lock(marks: readonly Mark[], transaction: Transaction<Database>): Promise<StoredMarks[]> {
    const { dialect } = this.database
    const rows = marks.map(({ conversationId, userId }) => ({ conversation_id: conversationId, user_id: userId }))
    const locked = dialect === 'postgres' ? sql`for update of m` : sql``
    const { rows: stored } = await sql<Omit<StoredMarks, 'subject'> & { kind: string; subjectId: string | null }>`
      select m.conversation_id as ${sql.ref('conversationId')}, m.user_id as ${sql.ref('userId')},
        m.read_position as ${sql.ref('readPosition')}, m.delivered_position as ${sql.ref('deliveredPosition')},
        c.last_revision as ${sql.ref('lastRevision')}, c.kind, c.subject_id as ${sql.ref('subjectId')}
      from ${givenRows(dialect, { conversation_id: 'text', user_id: 'text' }, rows)}
      join conversation_members as m
        on m.conversation_id = given.conversation_id and m.user_id = given.user_id and m.left_at_ms is null
      join conversations as c on c.id = m.conversation_id
      order by m.conversation_id, m.user_id ${locked}`.execute(transaction)
    return stored.map(({ kind, subjectId, ...marks }) => ({ ...marks, subject: subjectOf(kind, subjectId) }))
  }

  async raiseDelivered(advances: readonly Advance[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    await sql`
      update conversation_members set delivered_position = given.position, delivered_at_ms = ${nowMs}
      from ${this.given(advances)}
      where conversation_members.conversation_id = given.conversation_id
        and conversation_members.user_id = given.user_id`.execute(transaction)
  }

  /** What was read has been delivered as well. */
  async raiseRead(mark: Mark, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const { conversationId, userId, position } = mark
    await sql`
      update conversation_members set read_position = ${position}, read_at_ms = ${nowMs},
        delivered_at_ms = case when delivered_position < ${position} then ${nowMs} else delivered_at_ms end,
        delivered_position = case when delivered_position < ${position} then ${position} else delivered_position end
      where conversation_id = ${conversationId} and user_id = ${userId}`.execute(transaction)
  }

  /** Of these conversations, those of more members than that. */
  async largerThan(
    membersMax: number,
    conversationIds: readonly string[],
    transaction: Transaction<Database>,
  ): Promise<Set<string>> {
    const rows = await transaction
      .selectFrom('conversation_members')
      .select('conversation_id')
      .where(sql<boolean>`conversation_id in ${givenTexts(this.database.dialect, [...new Set(conversationIds)])}`)
      .where('left_at_ms', 'is', null)
      .groupBy('conversation_id')
      .having((e) => e.fn.countAll(), '>', membersMax)
      .execute()
    return new Set(rows.map((row) => row.conversation_id))
  }

  /** In the order given. */
  async passed(advances: readonly Advance[], transaction: Transaction<Database>): Promise<Passed[]> {
    if (advances.length === 0) return []
    const given = this.given(advances)
    const { rows: newest } = await sql<{ place: number; id: string | null }>`
      select place, coalesce(
        (select id from chat_messages where conversation_id = given.conversation_id
          and position <= given.position and kind = 'MESSAGE' order by position desc limit 1),
        (select id from chat_messages where conversation_id = given.conversation_id
          and position <= given.position order by position desc limit 1)
      ) as id from ${given}`.execute(transaction)
    const { rows: senders } = await sql<{ place: number; senderId: string }>`
      select distinct given.place, messages.sender_id as ${sql.ref('senderId')}
      from ${given}
      join chat_messages as messages on messages.conversation_id = given.conversation_id
        and messages.position > given.from_position and messages.position <= given.position
        and messages.kind = 'MESSAGE'
      join conversation_members as members on members.conversation_id = messages.conversation_id
        and members.user_id = messages.sender_id and members.left_at_ms is null
      order by 1, 2`.execute(transaction)
    const ids = new Map(newest.map(({ place, id }) => [place, id]))
    const senderIds = Map.groupBy(senders, ({ place }) => place)
    return advances.map((_, place) => ({
      messageId: ids.get(place) ?? null,
      senderIds: (senderIds.get(place) ?? []).map(({ senderId }) => senderId),
    }))
  }

  private given(advances: readonly Advance[]) {
    const columns = {
      place: 'integer',
      conversation_id: 'text',
      user_id: 'text',
      from_position: 'bigint',
      position: 'bigint',
    } as const
    const rows = advances.map(({ conversationId, userId, from, position }, place) => ({
      place,
      conversation_id: conversationId,
      user_id: userId,
      from_position: from,
      position,
    }))
    return givenRows(this.database.dialect, columns, rows)
  }
}
