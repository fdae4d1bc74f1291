/** Conversations over the REST API of a core, as whoever is logged in, or as whom a caller says where nobody logs in. */

import type { messageBody } from '../api/schemas/chat-message.ts'
import type { conversationBody, shownMemberBody } from '../api/schemas/conversation.ts'
import type { personBody } from '../api/schemas/person.ts'
import type { ApiClient, PageBody } from './api-client.ts'

export type ConversationBody = ReturnType<typeof conversationBody>
type MemberBody = ReturnType<typeof shownMemberBody>
type PersonBody = ReturnType<typeof personBody>
type MessageBody = ReturnType<typeof messageBody>

/** What to begin; the caller is in it. */
export type NewConversation =
  | { readonly kind: 'direct'; readonly with: string }
  | { readonly kind: 'group'; readonly title: string; readonly userIds: readonly string[] }
  | { readonly kind: 'site'; readonly siteId: number }
  | { readonly kind: 'task'; readonly taskId: string }
  | { readonly kind: 'alert'; readonly alertId: string }

const CONVERSATIONS = '/api/v1/conversations'

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
    return this.userId ?? (await this.api.get<{ readonly id: string }>('/api/v1/auth/me')).id
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

  add(conversationId: string, userIds: readonly string[]): Promise<unknown> {
    return this.api.post(`${pathOf(conversationId)}/members`, this.asCaller({ userIds }))
  }

  /** Of oneself: to leave. */
  remove(conversationId: string, memberId: string): Promise<unknown> {
    const as = this.userId === undefined ? '' : `?userId=${encodeURIComponent(this.userId)}`
    return this.api.delete(`${pathOf(conversationId)}/members/${encodeURIComponent(memberId)}${as}`)
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
  send(conversationId: string, content: string, clientMessageId: string): Promise<MessageBody> {
    return this.api.post(`${pathOf(conversationId)}/messages`, this.asCaller({ content, clientMessageId }))
  }

  read(conversationId: string, position: number): Promise<unknown> {
    return this.api.post(`${pathOf(conversationId)}/read`, this.asCaller({ position }))
  }

  private asCaller<T extends object>(body: T): T & { readonly userId?: string } {
    return this.userId === undefined ? body : { ...body, userId: this.userId }
  }
}

function pathOf(conversationId: string): string {
  return `${CONVERSATIONS}/${encodeURIComponent(conversationId)}`
}
