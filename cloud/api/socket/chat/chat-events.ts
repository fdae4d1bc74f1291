/** Events of conversations as frames: each is made once and shared by all who get it. */

import type { ConsumedRecord } from '../../../bus/bus.ts'
import {
  type ChatNotice,
  decodeMessage,
  decodeStatus,
  type MessageEvent,
  type MessageRecord,
  type MessageStatus,
  type PresenceView,
  type ShownMessage,
  type StatusRecord,
} from '../../../chat/chat.ts'
import { lastMessageBody } from '../../schemas/chat-message.ts'
import { timeOrNull } from '../../schemas/common.ts'
import type { Arriving } from './arrivals.ts'

/** What is kept of a message until it has come: many of a socket that answers no ping, so not what it says. */
export interface ArrivingMessage extends Arriving {
  /** Unix milliseconds. */
  readonly sentAtMs: number
}

/** A change of a conversation on its way to sockets. */
export interface LiveMessage {
  readonly conversationId: string
  readonly messageId: string
  readonly revision: number
  readonly senderId: string
  readonly arriving: ArrivingMessage
  /** Something that comes, also with what became of it meanwhile, rather than what becomes of something that came before. */
  readonly isNew: boolean
  readonly notice: ChatNotice | null
  readonly frame: string
  /** For the sockets of its sender, who is shown how far it has come. */
  readonly ownFrame: string
}

/** Null when the value is no change of a conversation. */
export function readMessage(
  record: ConsumedRecord,
): { readonly live: LiveMessage; readonly to: readonly string[] } | null {
  const value = readOrNull(() => decodeMessage(record.value))
  if (value === null) return null
  const { recipientIds, recipientId: _, ...members } = value
  const change = changeOf(value)
  const sentAtMs = Date.parse(value.sentAt)
  if (Number.isNaN(sentAtMs)) return null
  // A change that is not its first says nothing of how far it has come: what was told is still so, or more.
  const status = change === 'created' && value.kind === 'MESSAGE' ? 'SENT' : null
  return { live: liveOf({ ...members, change, sentAtMs }, messageText(members, change), status), to: recipientIds }
}

/**
 * As it is read from the database, for one user.
 * @param from of what is after it nothing has come yet: a message that was changed before it came comes with that.
 */
export function shownMessage({ message, status }: ShownMessage, from: number): LiveMessage {
  const { deletedBy: _, ...members } = lastMessageBody(message)
  const change = changeOf(members)
  const notice = message.notice
  const live = liveOf({ ...members, notice, change, sentAtMs: message.sentAtMs }, messageText(members, change), status)
  return { ...live, isNew: message.position > from }
}

/** Null when the value is no status. */
export function readStatus(record: ConsumedRecord): { readonly status: StatusRecord; readonly frame: string } | null {
  const status = readOrNull(() => decodeStatus(record.value))
  if (status === null) return null
  const { messageId, conversationId, userId, timestamp, position } = status
  const shown = { messageId, conversationId, status: status.status, userId, timestamp, position }
  return { status, frame: eventFrame({ event: 'status', ...shown }) }
}

export function typingFrame(conversationId: string, userId: string, isTyping: boolean): string {
  return eventFrame({ event: 'typing', conversationId, userId, isTyping })
}

export function presenceFrame({ userId, state, lastSeenAtMs }: PresenceView): string {
  return eventFrame({ event: 'presence', userId, state, lastSeenAt: timeOrNull(lastSeenAtMs) })
}

export function conversationFrame(conversationId: string, change: 'joined' | 'left', revision: number): string {
  return eventFrame({ event: 'conversation', conversationId, change, revision })
}

function eventFrame(data: object): string {
  return wrapped(JSON.stringify(data))
}

function wrapped(text: string): string {
  return `{"type":"event","channel":"chat","data":${text}}`
}

function messageText(members: object, change: MessageEvent): string {
  return JSON.stringify({ event: 'message', change, ...members })
}

function liveOf(
  members: Pick<MessageRecord, 'conversationId' | 'messageId' | 'revision' | 'position' | 'senderId' | 'notice'> & {
    readonly change: MessageEvent
    readonly sentAtMs: number
  },
  text: string,
  status: MessageStatus | null,
): LiveMessage {
  const { conversationId, messageId, revision, position, senderId, notice, change, sentAtMs } = members
  const frame = wrapped(text)
  return {
    ...{ conversationId, messageId, revision, senderId, notice, frame },
    arriving: { conversationId, position, sentAtMs },
    isNew: change === 'created',
    ownFrame: status === null ? frame : wrapped(`${text.slice(0, -1)},"status":"${status}"}`),
  }
}

function changeOf({ deletedAt, editedAt }: { deletedAt?: string | null; editedAt?: string | null }): MessageEvent {
  if (deletedAt != null) return 'deleted'
  return editedAt == null ? 'created' : 'edited'
}

function readOrNull<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null
  }
}
