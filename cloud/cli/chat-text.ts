/** What is said in conversations as lines for a terminal or a pipe: one line each, whatever somebody wrote. Pure. */

import type { Paint } from '../../shared/cli/terminal.ts'
import type { ChatLink, ChatNotice } from '../chat/message.ts'

/** A message, as the API and the live channel show it. */
export interface ShownMessage {
  readonly conversationId: string
  readonly messageId: string
  readonly senderId: string
  readonly content: string
  readonly kind: 'MESSAGE' | 'NOTICE'
  readonly position: number
  readonly revision: number
  readonly sentAt: string
  readonly links: readonly ChatLink[]
  readonly mentions: readonly string[]
  readonly notice: ChatNotice | null
  readonly editedAt: string | null
  readonly deletedAt: string | null
  /** Of the caller's own. */
  readonly status?: string | null
}

/** How far messages have come; see StatusRecord. */
export interface ShownStatus {
  readonly conversationId: string
  readonly messageId: string
  readonly status: string
  readonly userId: string
  readonly position: number
  readonly timestamp: string
}

export interface ChatLine {
  /** RFC 3339. */
  readonly at: string
  readonly conversationId: string
  /** The message's number in its conversation. */
  readonly position: number
  /** Who said it; null where nobody did. */
  readonly who: string | null
  readonly what: string
}

/** Stands where nobody speaks; no user has such a name. */
const NOBODY = '*'

/**
 * Text that steers no terminal and stays on its line: what would is shown. Marks that turn the direction of writing or are
 * not seen go with it; those that join letters and emoji stay.
 */
export function visible(text: string): string {
  return text.replaceAll(/\r\n|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (found) => {
    const code = found.codePointAt(0) ?? 0
    if (found === '\r\n' || found === '\n') return '⏎'
    if (code < 0x20) return String.fromCodePoint(0x2400 + code)
    if (code === 0x7f) return '␡'
    if (code === 0x200c || code === 0x200d) return found
    return `<${code.toString(16).padStart(4, '0')}>`
  })
}

/** JSON on one line that steers no terminal either. */
export function jsonLine(value: unknown): string {
  const escaped = (found: string): string => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`
  return `${JSON.stringify(value).replaceAll(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, escaped)}\n`
}

/**
 * A message, or what has become of one.
 * @param isNew false when an earlier form of it was shown.
 */
export function messageLine(message: ShownMessage, isNew: boolean): ChatLine {
  const { conversationId, position, senderId, deletedAt, editedAt, notice, sentAt } = message
  const line = (at: string, who: string | null, what: string): ChatLine => ({ at, conversationId, position, who, what })
  if (deletedAt !== null) return line(isNew ? sentAt : deletedAt, null, `${senderId}: message ${position} was deleted`)
  if (notice !== null) return line(sentAt, null, noticeText(senderId, notice))
  const said = saidText(message)
  if (editedAt === null) return line(sentAt, senderId, said)
  if (isNew) return line(sentAt, senderId, `${said} (edited)`)
  return line(editedAt, null, `${senderId} changed message ${position}: ${said}`)
}

/** Null for what the caller did on another device. */
export function statusLine(event: ShownStatus, self: string): ChatLine | null {
  const { conversationId, position, timestamp, status, userId } = event
  const line = (what: string): ChatLine => ({ at: timestamp, conversationId, position, who: null, what })
  if (status === 'SENT') return line(`message ${position} is sent`)
  if (userId === self) return null
  return line(status === 'READ' ? `${userId} has read message ${position}` : `${userId} has message ${position}`)
}

/** @param title of the conversation, in a terminal where lines of several stand below one another. */
export function lineText(
  line: ChatLine,
  { paint, isInteractive }: { readonly paint: Paint; readonly isInteractive: boolean },
  title?: string,
): string {
  const { at, conversationId, position, who, what } = line
  if (!isInteractive) return `${[at, conversationId, String(position), who ?? NOBODY, what].join('\t')}\n`
  const where = title === undefined ? '' : `  ${paint.caution(visible(title))}`
  const said =
    who === null ? paint.faint(`${NOBODY} ${what}`) : `${paint.faint(`${position}`)} ${paint.good(who)}: ${what}`
  return `${paint.faint(at)}${where}  ${said}\n`
}

/** The text, its links, and whom it mentions besides those whom the text itself names so. */
function saidText({ content, links, mentions }: ShownMessage): string {
  const mentioned = mentions.map((userId) => `@${userId}`).filter((mention) => !content.includes(mention))
  return [visible(content), ...links.map(linkText), ...mentioned].filter((part) => part !== '').join(' ')
}

function noticeText(by: string, notice: ChatNotice): string {
  const { action, userIds = [], title = '', role = '' } = notice
  const whom = userIds.join(', ')
  switch (action) {
    case 'created':
      return `${by} began the conversation${title === '' ? '' : ` "${visible(title)}"`}`
    case 'renamed':
      return `${by} named the conversation "${visible(title)}"`
    case 'added':
      return `${by} added ${whom}`
    case 'joined':
      return `${by} joined`
    case 'removed':
      return `${by} removed ${whom}`
    case 'left':
      return `${by} left`
    case 'role':
      return `${by} made ${whom} ${role}`
    case 'archived':
      return `${by} archived the conversation`
    case 'reopened':
      return `${by} reopened the conversation`
  }
}

function linkText({ url, name }: ChatLink): string {
  return name === null ? `<${visible(url)}>` : `${visible(name)} <${visible(url)}>`
}
