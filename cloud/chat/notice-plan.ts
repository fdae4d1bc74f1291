/**
 * Whom to tell of messages that have not come to them, and when: once for all of a conversation until something of it has come,
 * and of each mention by itself. Pure.
 */

import type { MessageRecord } from './chat-records.ts'
import type { Subject } from './conversation.ts'

/** A message as notices tell of it. */
export interface UntoldMessage
  extends Pick<MessageRecord, 'conversationId' | 'messageId' | 'senderId' | 'content' | 'position' | 'mentions'> {
  /** Unix milliseconds. */
  readonly sentAtMs: number
}

/** How far a member has come. */
export interface NoticeMarks {
  readonly conversationId: string
  readonly userId: string
  readonly readPosition: number
  readonly deliveredPosition: number
  readonly notifiedPosition: number
}

export interface NoticePlan {
  readonly marks: NoticeMarks
  /** To be told now; of them the mentions by themselves. */
  readonly told: readonly UntoldMessage[]
  /** The first that has to come to somebody who seems to be there. */
  readonly awaited: UntoldMessage | null
  /** Those that another notification stands for. */
  readonly collapsed: number
  readonly notifiedPosition: number
}

/** What notices say of where it was. */
export interface NoticePlace {
  readonly kind: string
  readonly title: string | null
  readonly subject: Subject | null
  readonly siteIds: readonly number[] | null
}

/** What a notice quotes, UTF-16 code units. */
const CONTENT_CHARS_MAX = 200

/**
 * @param messages of the conversation, by others, ascending by position.
 * @param isOnline the user has a socket: it may come to them any moment.
 */
export function planFor(marks: NoticeMarks, messages: readonly UntoldMessage[], isOnline: boolean): NoticePlan {
  const delivered = Math.max(marks.deliveredPosition, marks.readPosition)
  const told: UntoldMessage[] = []
  let awaited: UntoldMessage | null = null
  let collapsed = 0
  let notified = marks.notifiedPosition
  for (const message of messages) {
    if (message.position <= delivered) continue
    if (notified > delivered && !isMentioned(message, marks.userId)) collapsed++
    else if (isOnline) awaited ??= message
    else {
      told.push(message)
      notified = Math.max(notified, message.position)
    }
  }
  return { marks, told, awaited, collapsed, notifiedPosition: notified }
}

export function isMentioned({ mentions }: Pick<UntoldMessage, 'mentions'>, userId: string): boolean {
  return mentions.includes(userId)
}

export function noticeTitle(senderId: string, { kind, title }: NoticePlace): string {
  return kind === 'direct' ? senderId : `${senderId} in ${title ?? 'a conversation'}`
}

export function noticeContent(content: string): string {
  if (content === '') return 'Sent links.'
  const isCutInHalf = /[\ud800-\udbff]$/.test(content.slice(0, CONTENT_CHARS_MAX))
  return content.slice(0, isCutInHalf ? CONTENT_CHARS_MAX - 1 : CONTENT_CHARS_MAX)
}

/** The same whoever makes it, so that nobody is told of a message twice. */
export function noticeKey({ conversationId, position }: UntoldMessage): string {
  return `chat/${conversationId}/${position}`
}
