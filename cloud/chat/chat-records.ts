/**
 * The values of the topics `chat-messages`, `message-status-events` and `typing-events`: the members of the contract, in its
 * order, then ours. Consumers know what came before by `messageId` and `revision`.
 */

import type { ChatLink, ChatNotice, Message, MessageStatus } from './message.ts'

/** The header `source` of the records. */
export const COMMUNICATION = 'communication'

/** Also the header `event` of the record. */
export type MessageEvent = 'created' | 'edited' | 'deleted'

/** A change of a conversation: a message that came, or what became of one. */
export interface MessageRecord {
  readonly content: string
  /** Of a conversation of two, whom it is to; null in others. */
  readonly recipientId: string | null
  readonly conversationId: string
  readonly messageId: string
  readonly senderId: string
  /** RFC 3339. */
  readonly sentAt: string
  readonly kind: Message['kind']
  readonly position: number
  readonly revision: number
  /** Who was in it then and may see what it is about, the sender left out. */
  readonly recipientIds: readonly string[]
  readonly clientMessageId: string | null
  readonly links: readonly ChatLink[]
  readonly mentions: readonly string[]
  readonly notice: ChatNotice | null
  readonly editedAt: string | null
  readonly deletedAt: string | null
}

/** Everything of the conversation up to `position` has come so far, to or by `userId`. SENT is of its sender. */
export interface StatusRecord {
  /** The newest message that it says something of. */
  readonly messageId: string
  readonly conversationId: string
  readonly status: Exclude<MessageStatus, 'PENDING'>
  readonly userId: string
  /** RFC 3339. */
  readonly timestamp: string
  readonly position: number
  /** Who is told: senders of what it is about, and `userId`, who may have other devices. */
  readonly recipientIds: readonly string[]
}

export interface TypingRecord {
  readonly conversationId: string
  readonly userId: string
  readonly isTyping: boolean
  /** Unix milliseconds. */
  readonly timestamp: number
  readonly recipientIds: readonly string[]
}

export function encodeMessage(
  message: Message,
  recipientId: string | null,
  recipientIds: readonly string[],
): { readonly value: string; readonly headers: Readonly<Record<string, string>> } {
  const record: MessageRecord = {
    content: message.content,
    recipientId,
    conversationId: message.conversationId,
    messageId: message.id,
    senderId: message.senderId,
    sentAt: new Date(message.sentAtMs).toISOString(),
    kind: message.kind,
    position: message.position,
    revision: message.revision,
    recipientIds,
    clientMessageId: message.clientMessageId,
    links: message.links,
    mentions: message.mentions,
    notice: message.notice,
    editedAt: timeOrNull(message.editedAtMs),
    deletedAt: timeOrNull(message.deletedAtMs),
  }
  return { value: JSON.stringify(record), headers: { source: COMMUNICATION, event: eventOf(message) } }
}

export function encodeStatus(record: StatusRecord): {
  readonly value: string
  readonly headers: Readonly<Record<string, string>>
} {
  return { value: JSON.stringify(record), headers: { source: COMMUNICATION } }
}

export function eventOf({ deletedAtMs, editedAtMs }: Pick<Message, 'deletedAtMs' | 'editedAtMs'>): MessageEvent {
  if (deletedAtMs !== null) return 'deleted'
  return editedAtMs === null ? 'created' : 'edited'
}

/** @throws SyntaxError, TypeError for what is none. */
export function decodeMessage(value: Uint8Array): MessageRecord {
  const record = JSON.parse(Buffer.from(value).toString()) as MessageRecord
  const { content, conversationId, messageId, senderId, sentAt, position, revision, recipientIds } = record
  const texts = [content, conversationId, messageId, senderId, sentAt]
  if (!texts.every(isText) || ![position, revision].every(Number.isInteger) || !isTexts(recipientIds)) {
    throw new TypeError('the record is no message of a conversation')
  }
  return record
}

/** @throws SyntaxError, TypeError for what is none. */
export function decodeStatus(value: Uint8Array): StatusRecord {
  const record = JSON.parse(Buffer.from(value).toString()) as StatusRecord
  const { messageId, conversationId, status, userId, timestamp, position, recipientIds } = record
  const isStatus = status === 'SENT' || status === 'DELIVERED' || status === 'READ'
  const texts = [messageId, conversationId, userId, timestamp]
  if (!isStatus || !texts.every(isText) || !Number.isInteger(position) || !isTexts(recipientIds)) {
    throw new TypeError('the record is no status of a message')
  }
  return record
}

/** @throws SyntaxError, TypeError for what is none. */
export function decodeTyping(value: Uint8Array): TypingRecord {
  const record = JSON.parse(Buffer.from(value).toString()) as TypingRecord
  const { conversationId, userId, isTyping, timestamp, recipientIds } = record
  const fits = isText(conversationId) && isText(userId) && typeof isTyping === 'boolean' && isTexts(recipientIds)
  if (!fits || !Number.isFinite(timestamp)) throw new TypeError('the record does not say that somebody is typing')
  return record
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
