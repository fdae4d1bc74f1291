/** What a message may be. Pure; whether those it mentions are members is asked where it is stored. */

import { shortened } from '../../shared/schema-errors.ts'
import type { ChatInvalid } from './errors.ts'
import { type ChatLink, CLIENT_MESSAGE_ID_PATTERN } from './message.ts'

export interface NewLink {
  readonly url: string
  readonly name?: string | null | undefined
}

/** What can be edited. */
export interface MessageText {
  readonly content: string
  readonly links?: readonly NewLink[] | undefined
  /** Members. */
  readonly mentions?: readonly string[] | undefined
}

export interface NewMessage extends MessageText {
  readonly conversationId: string
  /** The sender's own name for it: what is sent again with the same name is the same message. */
  readonly clientMessageId: string
}

export interface MessageLimits {
  /** UTF-16 code units. */
  readonly contentCharsMax: number
  readonly linksMax: number
  readonly mentionsMax: number
}

export const LINK_URL_CHARS_MAX = 2_048
export const LINK_NAME_CHARS_MAX = 200
/** Nothing that anybody could see. */
const INVISIBLE = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}]*$/u

/** Everything that is wrong with it. */
export function invalidMessage(message: NewMessage, limits: MessageLimits): ChatInvalid[] {
  const { clientMessageId } = message
  const named: ChatInvalid[] = CLIENT_MESSAGE_ID_PATTERN.test(clientMessageId)
    ? []
    : [
        {
          pointer: '/clientMessageId',
          value: shortened(clientMessageId),
          remedy: '1 to 64 letters, digits, ".", "_", ":" or "-", such as a UUID; a new one for each message',
        },
      ]
  return [...named, ...invalidText(message, limits)]
}

/** The same of what an edit says. */
export function invalidText({ content, links = [], mentions = [] }: MessageText, limits: MessageLimits): ChatInvalid[] {
  return [
    ...invalidContent(content, limits.contentCharsMax),
    ...tooMany('/links', links, limits.linksMax),
    // Of more than there may be not each is told: the answer would be many times what was sent.
    ...links.slice(0, limits.linksMax).flatMap((link, i) => invalidLink(link, `/links/${i}`)),
    ...tooMany('/mentions', mentions, limits.mentionsMax),
  ]
}

/** The faults of mentions of people who are not in the conversation. */
export function invalidMentions(mentions: readonly string[], isMember: (userId: string) => boolean): ChatInvalid[] {
  return mentions.flatMap((userId, i) =>
    isMember(userId)
      ? []
      : [{ pointer: `/mentions/${i}`, value: shortened(userId), remedy: 'somebody who is in this conversation' }],
  )
}

/** Links and mentions as they are stored: each person once. */
export function storedText({ links, mentions }: MessageText): {
  readonly links: readonly ChatLink[]
  readonly mentions: readonly string[]
} {
  return {
    links: (links ?? []).map(({ url, name }) => ({ url, name: name ?? null })),
    mentions: [...new Set(mentions)],
  }
}

function invalidContent(content: string, charsMax: number): ChatInvalid[] {
  const fault = (remedy: string): ChatInvalid[] => [{ pointer: '/content', value: shortened(content), remedy }]
  if (content.length > charsMax) return fault(`at most ${charsMax} characters; this has ${content.length}`)
  if (INVISIBLE.test(content)) return fault(`1 to ${charsMax} characters, not only white space`)
  return isStorable(content) ? [] : fault('text without NUL and without half of a surrogate pair')
}

function invalidLink({ url, name }: NewLink, pointer: string): ChatInvalid[] {
  const faults: ChatInvalid[] = []
  if (!isLinkUrl(url)) {
    const remedy = `an http or https URL of at most ${LINK_URL_CHARS_MAX} characters, without user and password`
    faults.push({ pointer: `${pointer}/url`, value: shortened(url), remedy })
  }
  if (typeof name === 'string' && (name.length > LINK_NAME_CHARS_MAX || INVISIBLE.test(name) || !isStorable(name))) {
    const remedy = `1 to ${LINK_NAME_CHARS_MAX} characters, or nothing`
    faults.push({ pointer: `${pointer}/name`, value: shortened(name), remedy })
  }
  return faults
}

function isLinkUrl(text: string): boolean {
  // The parser would drop control characters and blanks at the ends, and what is stored is the text itself.
  if (text.length > LINK_URL_CHARS_MAX || /[\p{White_Space}\p{Cc}]/u.test(text) || !isStorable(text)) return false
  const url = URL.parse(text)
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return false
  return url.username === '' && url.password === ''
}

function tooMany(pointer: string, values: readonly unknown[], max: number): ChatInvalid[] {
  return values.length > max ? [{ pointer, value: values.length, remedy: `at most ${max}` }] : []
}

/** PostgreSQL has no NUL in text, and neither database half a character. */
function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}
