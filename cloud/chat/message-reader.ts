/** Messages read again: a page of a conversation, what happened since, and what became of one. */

import { type Kysely, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { type Page, readPageRequest, toPage } from '../registry/page.ts'
import type { Conversation } from './conversation.ts'
import { toConversation } from './conversation-store.ts'
import { chatInvalid, messageUnknown, traceForAuditors } from './errors.ts'
import type { Membership } from './membership.ts'
import { MESSAGE_ID_PATTERN, type Message } from './message.ts'
import type {
  HistoryRequest,
  LastRevision,
  MessageTrace,
  SearchRequest,
  ShownMessage,
  Since,
  SinceRequest,
} from './message-options.ts'
import { listsOf, toMessage } from './message-rows.ts'
import { MessageSearch } from './message-search.ts'
import { MessageStatuses } from './message-statuses.ts'

export class MessageReader {
  private readonly database: DatabaseHandle
  private readonly membership: Membership
  private readonly statuses: MessageStatuses
  private readonly finder: MessageSearch

  constructor(options: { readonly database: DatabaseHandle; readonly membership: Membership }) {
    this.database = options.database
    this.membership = options.membership
    this.statuses = new MessageStatuses(options)
    this.finder = new MessageSearch(options.database)
  }

  async get(userId: string, conversationId: string, messageId: string): Promise<ShownMessage> {
    const { kysely } = this.database
    const { conversation, message } = await this.found(userId, conversationId, messageId)
    const [shown] = await this.statuses.shown(userId, [message], [conversation], kysely)
    return shown as ShownMessage
  }

  /** The newest first. */
  async history(userId: string, conversationId: string, request: HistoryRequest): Promise<Page<ShownMessage>> {
    const { kysely } = this.database
    const { limit, after } = readPageRequest<number>(request, 'number')
    const { conversation } = await this.membership.requireMember(userId, conversationId, kysely)
    requireNumbers({ before: request.before })
    let query = kysely
      .selectFrom('chat_messages')
      .selectAll()
      .where('conversation_id', '=', conversationId)
      .orderBy('position', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where('position', '<', after)
    if (request.before !== undefined) query = query.where('position', '<', request.before)
    const rows = await query.execute()
    const shown = await this.statuses.shown(userId, rows.map(toMessage), [conversation], kysely)
    return toPage(
      shown,
      limit,
      ({ message }) => message.position,
      (each) => each,
    )
  }

  /**
   * What happened after a revision, in the order in which it happened; of a message that changed several times the last of it.
   * So whoever gets some of it, and loses the connection, has all up to the highest revision that came.
   */
  async since(userId: string, conversationId: string, afterRevision: number, request: SinceRequest): Promise<Since> {
    const { kysely } = this.database
    const { limit } = readPageRequest<number>({ limit: request.limit }, 'number')
    requireNumbers({ afterRevision, ...request })
    const { conversation } = await this.membership.requireMember(userId, conversationId, kysely)
    // Read before the messages: all up to there are there by then, and what comes while pages are read is none of theirs.
    const upTo = request.upTo ?? conversation.lastRevision
    const query = kysely
      .selectFrom('chat_messages')
      .selectAll()
      .where('conversation_id', '=', conversationId)
      .where('revision', '>', afterRevision)
      .where('revision', '<=', upTo)
      .orderBy('revision')
      .limit(limit + 1)
    const messages = (await query.execute()).map(toMessage)
    const shown = await this.statuses.shown(userId, messages.slice(0, limit), [conversation], kysely)
    return { messages: shown, upTo, more: messages.length > limit }
  }

  async search(userId: string, request: SearchRequest): Promise<Page<ShownMessage>> {
    const { kysely } = this.database
    const { conversationId } = request
    const within =
      conversationId === undefined
        ? await this.conversationsOf(userId, kysely)
        : [(await this.membership.requireMember(userId, conversationId, kysely)).conversation]
    const ids = within.map(({ id }) => id)
    const { items, next } = await this.finder.find(ids, request)
    return { items: await this.statuses.shown(userId, items, within, kysely), next }
  }

  /** What it said before, the oldest first. All see what was edited, since they have seen it; what was deleted is over for them. */
  async revisions(userId: string, conversationId: string, messageId: string): Promise<readonly MessageTrace[]> {
    const { message } = await this.found(userId, conversationId, messageId)
    if (message.deletedAtMs !== null) throw traceForAuditors(messageId)
    return await this.trace(messageId)
  }

  /** For an auditor of every site, who need not be in the conversation. */
  async audit(conversationId: string, messageId: string): Promise<readonly MessageTrace[]> {
    await this.message(conversationId, messageId)
    return await this.trace(messageId)
  }

  private async trace(messageId: string): Promise<readonly MessageTrace[]> {
    const rows = await this.database.kysely
      .selectFrom('chat_message_revisions')
      .selectAll()
      .where('message_id', '=', messageId)
      .orderBy('replaced_by_revision')
      .execute()
    return rows.map((row) => ({
      replacedByRevision: row.replaced_by_revision,
      content: row.content,
      ...listsOf(row),
      replacedAtMs: row.replaced_at_ms,
      replacedBy: row.replaced_by,
    }))
  }

  /** The last revisions of all conversations that the user is in. */
  async marksOf(userId: string): Promise<Map<string, number>> {
    const conversations = await this.conversationsOf(userId, this.database.kysely)
    return new Map(conversations.map(({ id, lastRevision }) => [id, lastRevision]))
  }

  /** All that the user is in. */
  private async conversationsOf(userId: string, kysely: Kysely<Database>): Promise<Conversation[]> {
    const rows = await kysely
      .selectFrom('conversations')
      .innerJoin('conversation_members', 'conversation_members.conversation_id', 'conversations.id')
      .selectAll('conversations')
      .where('conversation_members.user_id', '=', userId)
      .where('conversation_members.left_at_ms', 'is', null)
      .execute()
    return await this.membership.seenBy(userId, rows.map(toConversation), kysely)
  }

  /** Of conversations in which something happened since, for those of the users who are in them. */
  async lastRevisions(userIds: readonly string[], sinceMs: number): Promise<LastRevision[]> {
    const { kysely, dialect } = this.database
    const rows = await kysely
      .selectFrom('conversations')
      .innerJoin('conversation_members', 'conversation_members.conversation_id', 'conversations.id')
      .selectAll('conversations')
      .select('conversation_members.user_id')
      .where('conversations.updated_at_ms', '>=', Math.floor(sinceMs))
      .where('conversation_members.left_at_ms', 'is', null)
      .where(sql<boolean>`conversation_members.user_id in ${givenTexts(dialect, userIds)}`)
      .execute()
    const present = [...Map.groupBy(rows, ({ id }) => id).values()].flatMap((ofOne) =>
      ofOne.slice(0, 1).map((row) => ({ ...toConversation(row), userIds: ofOne.map(({ user_id }) => user_id) })),
    )
    const seeing = await this.membership.visibleIn(present, kysely)
    return present.flatMap(({ id, lastRevision }) =>
      [...(seeing.get(id) ?? [])].map((userId) => ({ userId, conversationId: id, lastRevision })),
    )
  }

  private async found(
    userId: string,
    conversationId: string,
    messageId: string,
  ): Promise<{ readonly conversation: Conversation; readonly message: Message }> {
    const { kysely } = this.database
    const { conversation } = await this.membership.requireMember(userId, conversationId, kysely)
    return { conversation, message: await this.message(conversationId, messageId) }
  }

  private async message(conversationId: string, messageId: string): Promise<Message> {
    // What is no id at all may hold what PostgreSQL does not take.
    if (!MESSAGE_ID_PATTERN.test(messageId)) throw messageUnknown(messageId)
    const row = await this.database.kysely
      .selectFrom('chat_messages')
      .selectAll()
      .where('id', '=', messageId)
      .where('conversation_id', '=', conversationId)
      .executeTakeFirst()
    if (row === undefined) throw messageUnknown(messageId)
    return toMessage(row)
  }
}

/** What is none must not reach the database. @throws ChatError INVALID_INPUT */
function requireNumbers(given: Readonly<Record<string, number | undefined>>): void {
  const faults = Object.entries(given).flatMap(([name, value]) =>
    value === undefined || (Number.isSafeInteger(value) && value >= 0)
      ? []
      : [{ pointer: `/${name}`, value, remedy: 'an integer of 0 or more' }],
  )
  if (faults.length > 0) throw chatInvalid(faults)
}
