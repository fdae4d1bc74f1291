/**
 * Messages in the database. Whatever happens in a conversation is stored under the lock of its row, takes the next number of it,
 * and goes to the outbox in the same transaction: so all see the same order, without a gap.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { assert } from '../../shared/errors.ts'
import { CHAT_MESSAGES } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { encodeMessage, eventOf } from './chat-records.ts'
import type { Conversation, Member } from './conversation.ts'
import { ConversationStore } from './conversation-store.ts'
import type { Membership } from './membership.ts'
import { type ChatNotice, type Message, messageIdOf, NOT_YET } from './message.ts'
import { listsOf, listText, MESSAGE_COLUMNS, rowOf, type Said, saidBy, toMessage } from './message-rows.ts'

/** Whose records tell that messages are on the bus; see published.ts. */
export const MESSAGE_OWNER = 'chat message'

/** A conversation whose row is locked, with those who are in it now and may see what it is about. */
export interface LockedConversation {
  readonly conversation: Conversation
  readonly members: ReadonlyMap<string, Member>
}

export interface StoredMessage {
  readonly message: Message
  /** What it said at first. */
  readonly original: Said
}

export interface MessageStoreOptions {
  readonly database: DatabaseHandle
  readonly outbox: Pick<Outbox, 'append'>
  readonly membership: Pick<Membership, 'visibleIn'>
  readonly clock: Clock
}

export class MessageStore {
  private readonly options: MessageStoreOptions
  private readonly conversations: ConversationStore

  constructor(options: MessageStoreOptions) {
    this.options = options
    this.conversations = new ConversationStore(options.database)
  }

  /** Those that there are. They stay as they are until the transaction ends, and so does who is in them. */
  async lockConversations(
    ids: readonly string[],
    transaction: Transaction<Database>,
  ): Promise<Map<string, LockedConversation>> {
    const locked = await this.conversations.lockAll(ids, transaction)
    const members = await this.conversations.members([...locked.keys()], transaction)
    const present = [...locked.values()].map(({ id, subject }) => {
      return { id, subject, userIds: (members.get(id) ?? []).map(({ userId }) => userId) }
    })
    const seeing = await this.options.membership.visibleIn(present, transaction)
    return new Map(
      [...locked].map(([id, conversation]) => {
        const seen = (members.get(id) ?? []).filter(({ userId }) => seeing.get(id)?.has(userId) === true)
        return [id, { conversation, members: new Map(seen.map((member) => [member.userId, member])) }]
      }),
    )
  }

  /** A line that says what happened in a conversation. Nudge the outbox once it is committed. */
  async postNotice(
    conversationId: string,
    actorId: string,
    notice: ChatNotice,
    transaction: Transaction<Database>,
  ): Promise<Message> {
    const locked = await this.lockConversations([conversationId], transaction)
    const conversation = locked.get(conversationId)?.conversation
    assert(conversation !== undefined, 'a notice is of a conversation that there is')
    const number = conversation.lastRevision + 1
    const message: Message = {
      // Nobody can name a message of their own so.
      id: messageIdOf(conversationId, `notice/${number}`),
      conversationId,
      kind: 'NOTICE',
      position: number,
      revision: number,
      senderId: actorId,
      clientMessageId: null,
      content: '',
      links: [],
      mentions: [],
      notice,
      sentAtMs: Math.round(this.options.clock.wallMs()),
      ...NOT_YET,
    }
    await this.insert([message], locked, transaction)
    return message
  }

  /** Of those ids, the messages that there are, by id. */
  async existing(ids: readonly string[], transaction: Transaction<Database>): Promise<Map<string, StoredMessage>> {
    const { dialect } = this.options.database
    const rows = await transaction
      .selectFrom('chat_messages')
      .selectAll()
      .where(sql<boolean>`id in ${givenTexts(dialect, ids)}`)
      .execute()
    const stored = new Map(rows.map(toMessage).map((message) => [message.id, { message, original: saidBy(message) }]))
    const changed = [...stored.values()].flatMap(({ message: { id, revision, position } }) =>
      revision === position ? [] : [id],
    )
    if (changed.length === 0) return stored
    const traces = await transaction
      .selectFrom('chat_message_revisions')
      .selectAll()
      .where(sql<boolean>`message_id in ${givenTexts(dialect, changed)}`)
      .orderBy('replaced_by_revision', 'desc')
      .execute()
    for (const { message_id, content, links, mentions } of traces) {
      const of = stored.get(message_id)
      // The last that is set is the oldest.
      if (of !== undefined) stored.set(message_id, { ...of, original: { content, ...listsOf({ links, mentions }) } })
    }
    return stored
  }

  /** Kept from changing until the transaction ends; null when there is no such message. */
  async lock(conversationId: string, messageId: string, transaction: Transaction<Database>): Promise<Message | null> {
    const row = await transaction
      .selectFrom('chat_messages')
      .selectAll()
      .where('id', '=', messageId)
      .where('conversation_id', '=', conversationId)
      .$if(this.options.database.dialect === 'postgres', (query) => query.forUpdate())
      .executeTakeFirst()
    return row === undefined ? null : toMessage(row)
  }

  /** New ones, with the numbers that follow the last ones of their conversations. */
  async insert(
    messages: readonly Message[],
    locked: ReadonlyMap<string, LockedConversation>,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const given = givenRows(this.options.database.dialect, MESSAGE_COLUMNS, messages.map(rowOf))
    const names = sql.join(Object.keys(MESSAGE_COLUMNS).map((name) => sql.ref(name)))
    await sql`insert into chat_messages (${names}) select ${names} from ${given}`.execute(transaction)
    await this.tell(messages, locked, transaction)
  }

  /** Stores what became of a message, and what it said before. */
  async change(
    before: Message,
    after: Message,
    changedBy: string,
    locked: ReadonlyMap<string, LockedConversation>,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const atMs = after.deletedAtMs ?? after.editedAtMs
    assert(atMs !== null && after.revision > before.revision, 'a change has its time and its number')
    await transaction
      .insertInto('chat_message_revisions')
      .values({
        message_id: before.id,
        replaced_by_revision: after.revision,
        content: before.content,
        links: listText(before.links),
        mentions: listText(before.mentions),
        replaced_at_ms: atMs,
        replaced_by: changedBy,
      })
      .execute()
    const { revision, content, search_text, links, mentions, edited_at_ms, deleted_at_ms, deleted_by } = rowOf(after)
    await transaction
      .updateTable('chat_messages')
      .set({ revision, content, search_text, links, mentions, edited_at_ms, deleted_at_ms, deleted_by })
      .where('id', '=', before.id)
      .execute()
    await this.tell([after], locked, transaction)
  }

  /** Moves the numbers of the conversations on, and appends what happened to the outbox, in order. */
  private async tell(
    messages: readonly Message[],
    locked: ReadonlyMap<string, LockedConversation>,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const { database, outbox, clock } = this.options
    const heads = new Map<string, { id: string; last_revision: number; last_message_at_ms: number | null }>()
    const records: OutboxRecord[] = []
    for (const message of messages) {
      const { conversationId, senderId } = message
      const { conversation, members } = locked.get(conversationId) as LockedConversation
      const head = heads.get(conversationId)
      const last = head?.last_revision ?? conversation.lastRevision
      assert(message.revision === last + 1, 'what happens in a conversation is numbered without a gap')
      const isNew = eventOf(message) === 'created'
      const saidAtMs = isNew && message.kind === 'MESSAGE' ? message.sentAtMs : null
      heads.set(conversationId, {
        id: conversationId,
        last_revision: message.revision,
        last_message_at_ms: saidAtMs ?? head?.last_message_at_ms ?? null,
      })
      const recipientIds = [...members.keys()].filter((userId) => userId !== senderId)
      const recipientId = conversation.kind === 'direct' ? (recipientIds[0] ?? null) : null
      records.push({
        topic: CHAT_MESSAGES,
        key: conversationId,
        ...encodeMessage(message, recipientId, recipientIds),
        ...(isNew ? { owner: { name: MESSAGE_OWNER, id: message.id } } : {}),
      })
    }
    const given = givenRows(database.dialect, HEAD_COLUMNS, [...heads.values()])
    await sql`
      update conversations set
        last_revision = given.last_revision,
        last_message_at_ms = coalesce(given.last_message_at_ms, conversations.last_message_at_ms),
        updated_at_ms = ${Math.round(clock.wallMs())}
      from ${given} where conversations.id = given.id`.execute(transaction)
    await outbox.append(records, transaction)
  }
}

const HEAD_COLUMNS = { id: 'text', last_revision: 'bigint', last_message_at_ms: 'bigint' } as const
