/**
 * Messages of conversations: sent, edited, deleted, and read again. What is answered as sent is in the database, together with the
 * record that tells of it; a message that is sent again is the same one.
 */

import type { Part } from '../../shared/lifecycle.ts'
import { aborted } from '../../shared/waiting.ts'
import type { Page } from '../registry/page.ts'
import { CONVERSATION_ID_PATTERN } from './conversation.ts'
import { ChatError, chatInvalid, conversationUnknown, messageUnknown, rateLimited } from './errors.ts'
import { MESSAGE_ID_PATTERN, type Message } from './message.ts'
import { statusIn } from './message-batch.ts'
import { deleted, edited, type MessageChange } from './message-change.ts'
import type {
  Also,
  HistoryRequest,
  LastRevision,
  MessageStats,
  MessagesOptions,
  MessageTrace,
  SearchRequest,
  SentMessage,
  ShownMessage,
  Since,
  SinceRequest,
} from './message-options.ts'
import { MessagePurge } from './message-purge.ts'
import { MessageReader } from './message-reader.ts'
import { MessageStore } from './message-store.ts'
import { invalidMessage, invalidText, type MessageText, type NewMessage } from './new-message.ts'
import { markPublished } from './published.ts'
import { SendLimit } from './send-limit.ts'
import { SendQueue } from './send-queue.ts'
import { type SendItem, SendWriter } from './send-writer.ts'

/** Messages of one transaction, and those that wait for theirs. */
const BATCH_MAX = 300
const WAITING_MAX = 5_000

export class Messages implements Part {
  readonly name = 'chat messages'
  private readonly options: MessagesOptions
  private readonly store: MessageStore
  private readonly reader: MessageReader
  private readonly limit: SendLimit
  private readonly queue: SendQueue<SendItem, SentMessage>
  private readonly purge: MessagePurge
  private readonly counts = { sent: 0, repeated: 0, edited: 0, deleted: 0 }
  private readonly refused = new Map<string, number>()

  /** Made before the relay of the outbox starts, so that it hears what is published. */
  constructor(options: MessagesOptions) {
    this.options = options
    this.store = new MessageStore(options)
    this.reader = new MessageReader(options)
    this.limit = new SendLimit(options.settings)
    const writer = new SendWriter({ ...options, store: this.store })
    this.queue = new SendQueue({
      batchMax: BATCH_MAX,
      waitingMax: WAITING_MAX,
      write: (items) => writer.write(items),
      paceMs: options.paceMs,
      clock: options.clock,
    })
    this.purge = new MessagePurge(options)
    markPublished(options)
  }

  /** Starts removing what is old; everything else works without. */
  async start(): Promise<void> {
    await this.purge.duty.start()
  }

  /** What waits is stored; past the deadline whoever waits for it sends it again. */
  async stop(deadline: AbortSignal): Promise<void> {
    await this.purge.duty.stop(deadline)
    await Promise.race([this.queue.idle(), aborted(deadline)])
  }

  /**
   * Resolves when it is stored, and `also` in the same transaction. One that was sent before is answered as it was then, whatever has
   * become of its conversation since; `also` is called for it too.
   * @throws ChatError INVALID_INPUT, RATE_LIMITED, CONVERSATION_UNKNOWN, CONVERSATION_ARCHIVED, MESSAGE_ID_REUSED; BusbarError
   * CHAT_BUSY, DATABASE_UNAVAILABLE: whether it is stored is not known then, and sending it again finds out; whatever `also` throws
   */
  async send(senderId: string, message: NewMessage, also?: Also<SentMessage>): Promise<SentMessage> {
    return await this.counted(async () => {
      const faults = invalidMessage(message, this.options.settings)
      if (faults.length > 0) throw chatInvalid(faults)
      requireConversationId(message.conversationId)
      this.takeToken(senderId)
      const sent = await this.queue.add({ senderId, message, also })
      this.counts[sent.repeated ? 'repeated' : 'sent']++
      return sent
    })
  }

  /**
   * By who wrote it. What it said before is kept; an edit that changes nothing stores nothing. Links and mentions that are left out
   * stay as they are.
   * @throws ChatError INVALID_INPUT, RATE_LIMITED, CONVERSATION_UNKNOWN, CONVERSATION_ARCHIVED, MESSAGE_UNKNOWN,
   * MESSAGE_NOT_YOURS, MESSAGE_DELETED
   */
  async edit(
    userId: string,
    conversationId: string,
    messageId: string,
    text: MessageText,
    also?: Also<ShownMessage>,
  ): Promise<ShownMessage> {
    return await this.counted(async () => {
      const faults = invalidText(text, this.options.settings)
      if (faults.length > 0) throw chatInvalid(faults)
      this.takeToken(userId)
      const { shown, isChanged } = await this.change(userId, conversationId, messageId, edited(userId, text), also)
      if (isChanged) this.counts.edited++
      return shown
    })
  }

  /**
   * By who wrote it, or an owner of the conversation. Nothing of it is shown any more, but to auditors (`audit`). Deleting it
   * again changes nothing.
   * @throws ChatError RATE_LIMITED, CONVERSATION_UNKNOWN, CONVERSATION_ARCHIVED, MESSAGE_UNKNOWN, MESSAGE_NOT_YOURS
   */
  async remove(
    userId: string,
    conversationId: string,
    messageId: string,
    also?: Also<ShownMessage>,
  ): Promise<ShownMessage> {
    return await this.counted(async () => {
      this.takeToken(userId)
      const { shown, isChanged } = await this.change(userId, conversationId, messageId, deleted(userId), also)
      if (isChanged) this.counts.deleted++
      return shown
    })
  }

  /** @throws ChatError CONVERSATION_UNKNOWN, MESSAGE_UNKNOWN */
  get(userId: string, conversationId: string, messageId: string): Promise<ShownMessage> {
    return this.reader.get(userId, conversationId, messageId)
  }

  /** The newest first. @throws ChatError CONVERSATION_UNKNOWN; InvalidRegistrationError for limit and cursor. */
  history(userId: string, conversationId: string, request: HistoryRequest = {}): Promise<Page<ShownMessage>> {
    return this.reader.history(userId, conversationId, request)
  }

  /**
   * What happened after a revision, each message once as it is now, in the order in which it happened. The next page begins after the
   * last revision of the one before.
   * @throws ChatError CONVERSATION_UNKNOWN, INVALID_INPUT
   */
  since(userId: string, conversationId: string, afterRevision: number, request: SinceRequest = {}): Promise<Since> {
    return this.reader.since(userId, conversationId, afterRevision, request)
  }

  /**
   * In what the user is in, the newest first. A page may have fewer than were asked for, or none, and yet a `next`.
   * @throws ChatError CONVERSATION_UNKNOWN, INVALID_INPUT; InvalidRegistrationError for limit and cursor.
   */
  search(userId: string, request: SearchRequest): Promise<Page<ShownMessage>> {
    return this.reader.search(userId, request)
  }

  /**
   * What a message said before, the oldest first.
   * @throws ChatError CONVERSATION_UNKNOWN, MESSAGE_UNKNOWN, MESSAGE_TRACE_AUDITORS of a deleted one
   */
  revisions(userId: string, conversationId: string, messageId: string): Promise<readonly MessageTrace[]> {
    return this.reader.revisions(userId, conversationId, messageId)
  }

  /** The same for auditors of every site, of any message of any conversation. @throws ChatError MESSAGE_UNKNOWN */
  audit(conversationId: string, messageId: string): Promise<readonly MessageTrace[]> {
    return this.reader.audit(conversationId, messageId)
  }

  /** By conversation that the user is in, the number of the last thing that happened. */
  marksOf(userId: string): Promise<ReadonlyMap<string, number>> {
    return this.reader.marksOf(userId)
  }

  /** The same of many users, for conversations in which something happened at or after `sinceMs`. */
  lastRevisions(userIds: readonly string[], sinceMs: number): Promise<readonly LastRevision[]> {
    return this.reader.lastRevisions(userIds, sinceMs)
  }

  stats(): MessageStats {
    const { waiting, batches, refused: busy } = this.queue.stats()
    const refused = { ...Object.fromEntries(this.refused), ...(busy > 0 && { CHAT_BUSY: busy }) }
    return { ...this.counts, refused, batches, waiting, purged: this.purge.purged }
  }

  private async change(
    userId: string,
    conversationId: string,
    messageId: string,
    decide: MessageChange,
    also: Also<ShownMessage> | undefined,
  ): Promise<{ readonly shown: ShownMessage; readonly isChanged: boolean }> {
    const { database, outbox, clock } = this.options
    const outcome = await database.transaction(async (transaction) => {
      requireConversationId(conversationId)
      const all = await this.store.lockConversations([conversationId], transaction)
      const locked = all.get(conversationId)
      if (locked === undefined || !locked.members.has(userId)) throw conversationUnknown(conversationId)
      const isId = MESSAGE_ID_PATTERN.test(messageId)
      const before = isId ? await this.store.lock(conversationId, messageId, transaction) : null
      if (before === null) throw messageUnknown(messageId)
      const after: Message = decide(before, locked, Math.round(clock.wallMs()))
      const isChanged = after !== before
      if (isChanged) await this.store.change(before, after, userId, all, transaction)
      const shown = { message: after, status: after.senderId === userId ? statusIn(locked, after) : null }
      await also?.(shown, transaction)
      return { shown, isChanged }
    })
    if (outcome.isChanged) outbox.nudge()
    return outcome
  }

  /** @throws ChatError RATE_LIMITED */
  private takeToken(userId: string): void {
    const retryAfterMs = this.limit.take(userId, this.options.clock.monotonicMs())
    if (retryAfterMs > 0) throw rateLimited(retryAfterMs)
  }

  private async counted<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof ChatError) this.refused.set(error.code, (this.refused.get(error.code) ?? 0) + 1)
      throw error
    }
  }
}

/** What is no id at all may hold what PostgreSQL does not take. @throws ChatError CONVERSATION_UNKNOWN */
function requireConversationId(id: string): void {
  if (!CONVERSATION_ID_PATTERN.test(id)) throw conversationUnknown(id)
}
