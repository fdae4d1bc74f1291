/** One message: how it is named, what it says, and how far it has come. Pure. */

import { createHash } from 'node:crypto'

export const MESSAGE_ID_PATTERN = /^msg-[0-9a-f]{24}$/
/** The sender's own name for it. */
export const CLIENT_MESSAGE_ID_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/

/** What happened in a conversation besides what was said; each has a line among the messages. */
export const NOTICE_ACTIONS = [
  'created',
  'renamed',
  'added',
  'joined',
  'removed',
  'left',
  'role',
  'archived',
  'reopened',
] as const
export type NoticeAction = (typeof NOTICE_ACTIONS)[number]

export interface ChatNotice {
  readonly action: NoticeAction
  /** Whom it was done to, where that is somebody else than who did it. */
  readonly userIds?: readonly string[]
  readonly title?: string
  readonly role?: string
}

/** An attachment lies elsewhere. */
export interface ChatLink {
  /** http or https. */
  readonly url: string
  readonly name: string | null
}

/** Ascending; none ever goes back. PENDING waits for the bus. */
export const MESSAGE_STATUSES = ['PENDING', 'SENT', 'DELIVERED', 'READ'] as const
export type MessageStatus = (typeof MESSAGE_STATUSES)[number]

export interface Message {
  readonly id: string
  readonly conversationId: string
  readonly kind: 'MESSAGE' | 'NOTICE'
  /** Its place in the conversation, the same for everyone; never changes. */
  readonly position: number
  /** The number of its last change; its position as long as it has none. */
  readonly revision: number
  readonly senderId: string
  readonly clientMessageId: string | null
  /** Text, never markup; empty once it is deleted. */
  readonly content: string
  readonly links: readonly ChatLink[]
  /** Members. */
  readonly mentions: readonly string[]
  readonly notice: ChatNotice | null
  /** Times are Unix milliseconds. */
  readonly sentAtMs: number
  /** When the bus had it; null while it waits. */
  readonly publishedAtMs: number | null
  readonly editedAtMs: number | null
  readonly deletedAtMs: number | null
  readonly deletedBy: string | null
}

/** Of a message that has just been stored. */
export const NOT_YET = { publishedAtMs: null, editedAtMs: null, deletedAtMs: null, deletedBy: null } as const

/** A client that sends the same again means the same message. */
export function messageIdOf(senderId: string, clientMessageId: string): string {
  return `msg-${createHash('sha256').update(`${senderId}\0${clientMessageId}`).digest('hex').slice(0, 24)}`
}

/**
 * How far a message has come, as its sender is shown it: to everybody else who is in the conversation.
 * @param others marks of the members other than the sender, those that have left not included.
 */
export function statusOf(
  message: Pick<Message, 'position' | 'publishedAtMs'>,
  others: Iterable<{ readonly readPosition: number; readonly deliveredPosition: number }>,
): MessageStatus {
  let read = Number.POSITIVE_INFINITY
  let delivered = Number.POSITIVE_INFINITY
  for (const { readPosition, deliveredPosition } of others) {
    read = Math.min(read, readPosition)
    delivered = Math.min(delivered, Math.max(deliveredPosition, readPosition))
  }
  // Of nobody else nobody has read it.
  if (read !== Number.POSITIVE_INFINITY) {
    if (read >= message.position) return 'READ'
    if (delivered >= message.position) return 'DELIVERED'
  }
  return message.publishedAtMs === null ? 'PENDING' : 'SENT'
}
