/** Conversations over the REST API of a core, as whoever is logged in, or as whom a caller says where nobody logs in. */

import type { Static } from '@sinclair/typebox'
import { BusbarError } from '../../shared/errors.ts'
import type { messageBody, ReceiptSchema } from '../api/schemas/chat-message.ts'
import type { conversationBody, shownMemberBody } from '../api/schemas/conversation.ts'
import type { personBody } from '../api/schemas/person.ts'
import type { ApiClient, PageBody } from './api-client.ts'

export type ConversationBody = ReturnType<typeof conversationBody>
type MemberBody = ReturnType<typeof shownMemberBody>
type PersonBody = ReturnType<typeof personBody>
type MessageBody = ReturnType<typeof messageBody>
type ReceiptBody = Static<typeof ReceiptSchema>

/** What to begin; the caller is in it. */
export type NewConversation =
  | { readonly kind: 'direct'; readonly with: string }
  | { readonly kind: 'group'; readonly title: string; readonly userIds: readonly string[] }
  | { readonly kind: 'site'; readonly siteId: number }
  | { readonly kind: 'task'; readonly taskId: string }
  | { readonly kind: 'alert'; readonly alertId: string }

/** What a message says; of an edit, links and mentions that are absent stay as they are. */
export interface Said {
  readonly content: string
  readonly mentions?: readonly string[]
  readonly links?: readonly { readonly url: string }[]
}

/** Where nobody logs in there is no such thing. */
export const ME_PATH = '/api/v1/auth/me'
const CONVERSATIONS = '/api/v1/conversations'
/** Messages looked through at once for a number. */
const PAGE = 500

export class ChatApi {
  private readonly api: ApiClient
  /** Undefined for whoever is logged in. */
  private readonly userId: string | undefined

  constructor(api: ApiClient, userId: string | undefined) {
    this.api = api
    this.userId = userId
  }

  /** Who the caller is. */
  async whoAmI(): Promise<string> {
    return this.userId ?? (await this.api.get<{ readonly id: string }>(ME_PATH)).id
  }

  list(limit: number, archived = false): Promise<PageBody<ConversationBody>> {
    return this.api.list(CONVERSATIONS, { archived: archived ? 'true' : undefined, userId: this.userId }, limit)
  }

  get(conversationId: string): Promise<ConversationBody> {
    return this.api.get(pathOf(conversationId), { userId: this.userId })
  }

  begin(wanted: NewConversation): Promise<ConversationBody> {
    return this.api.post(CONVERSATIONS, this.asCaller(wanted))
  }

  change(conversationId: string, changes: { title?: string; archived?: boolean }): Promise<ConversationBody> {
    return this.api.patch(pathOf(conversationId), this.asCaller(changes))
  }

  people(search: string | undefined, limit: number): Promise<PageBody<PersonBody>> {
    return this.api.list('/api/v1/people', { search, userId: this.userId }, limit)
  }

  members(conversationId: string, limit: number): Promise<PageBody<MemberBody>> {
    return this.api.list(`${pathOf(conversationId)}/members`, { userId: this.userId }, limit)
  }

  /** Resolves with who was not in it before. */
  add(conversationId: string, userIds: readonly string[]): Promise<{ readonly added: readonly string[] }> {
    return this.api.post(`${pathOf(conversationId)}/members`, this.asCaller({ userIds }))
  }

  /** Of oneself: to leave. */
  remove(conversationId: string, memberId: string): Promise<unknown> {
    return this.api.delete(`${memberPath(conversationId, memberId)}${this.query()}`)
  }

  setRole(conversationId: string, memberId: string, role: string): Promise<unknown> {
    return this.api.patch(memberPath(conversationId, memberId), this.asCaller({ role }))
  }

  /** The newest first. */
  history(conversationId: string, limit: number): Promise<PageBody<MessageBody>> {
    return this.api.list(`${pathOf(conversationId)}/messages`, { userId: this.userId }, limit)
  }

  /** The newest first. */
  search(conversationId: string, text: string, limit: number): Promise<PageBody<MessageBody>> {
    return this.api.list('/api/v1/messages', { search: text, conversationId, userId: this.userId }, limit)
  }

  /** The same name is the same message, however often it is sent. */
  send(conversationId: string, said: Said, clientMessageId: string): Promise<MessageBody> {
    return this.api.post(`${pathOf(conversationId)}/messages`, this.asCaller({ ...said, clientMessageId }))
  }

  /** @param message its id, or its number in the conversation; as below. */
  async edit(conversationId: string, message: string, said: Said): Promise<MessageBody> {
    return this.api.patch(await this.messagePath(conversationId, message), this.asCaller(said))
  }

  async delete(conversationId: string, message: string): Promise<MessageBody> {
    return this.api.delete(`${await this.messagePath(conversationId, message)}${this.query()}`)
  }

  /** Who has got a message, and who has read it. */
  async receipts(conversationId: string, message: string, limit: number): Promise<PageBody<ReceiptBody>> {
    const path = `${await this.messagePath(conversationId, message)}/receipts`
    return this.api.list(path, { userId: this.userId }, limit)
  }

  read(conversationId: string, position: number): Promise<unknown> {
    return this.api.post(`${pathOf(conversationId)}/read`, this.asCaller({ position }))
  }

  /** @throws BusbarError MESSAGE_UNKNOWN, USAGE */
  private async messagePath(conversationId: string, message: string): Promise<string> {
    const messages = `${pathOf(conversationId)}/messages`
    if (message.startsWith('msg-')) return `${messages}/${encodeURIComponent(message)}`
    if (/^[1-9]\d{0,14}$/.test(message)) return `${messages}/${await this.idOf(messages, Number(message))}`
    throw new BusbarError(`"${message}" names no message`, {
      code: 'USAGE',
      hint: 'give its number in the conversation, which `busbar-cloud chat history` shows, or its id',
    })
  }

  /** The id of the message that stands at a place; the newest ones are looked through first. */
  private async idOf(messages: string, position: number): Promise<string> {
    let cursor: string | undefined
    do {
      const page: PageBody<MessageBody> = await this.api.get(messages, { limit: PAGE, cursor, userId: this.userId })
      const found = page.items.find((each) => each.position === position)
      if (found !== undefined) return found.messageId
      const isBehind = (page.items.at(-1)?.position ?? 0) < position
      cursor = isBehind ? undefined : (page.nextCursor ?? undefined)
    } while (cursor !== undefined)
    throw new BusbarError(`this conversation has no message ${position}`, {
      code: 'MESSAGE_UNKNOWN',
      hint: '`busbar-cloud chat history` shows which it has',
    })
  }

  private query(): string {
    return this.userId === undefined ? '' : `?userId=${encodeURIComponent(this.userId)}`
  }

  private asCaller<T extends object>(body: T): T & { readonly userId?: string } {
    return this.userId === undefined ? body : { ...body, userId: this.userId }
  }
}

function pathOf(conversationId: string): string {
  return `${CONVERSATIONS}/${encodeURIComponent(conversationId)}`
}

function memberPath(conversationId: string, memberId: string): string {
  return `${pathOf(conversationId)}/members/${encodeURIComponent(memberId)}`
}
