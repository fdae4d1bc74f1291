/** Messages as rows of their table. Pure. */

import type { Selectable } from 'kysely'
import type { ChatMessagesTable } from '../database/schema-chat.ts'
import { parsedText } from '../database/stored-text.ts'
import type { ChatLink, ChatNotice, Message } from './message.ts'

/** What a message says. */
export interface Said {
  readonly content: string
  readonly links: readonly ChatLink[]
  readonly mentions: readonly string[]
}

/** As it is searched: letters of both cases, and of several forms, are one. */
export function searchText(content: string): string {
  return content.normalize('NFKC').toLowerCase()
}

export function saidBy({ content, links, mentions }: Said): Said {
  return { content, links, mentions }
}

export function listsOf(row: Pick<Selectable<ChatMessagesTable>, 'links' | 'mentions'>): Omit<Said, 'content'> {
  return {
    links: (parsedText(row.links) ?? []) as readonly ChatLink[],
    mentions: (parsedText(row.mentions) ?? []) as readonly string[],
  }
}

export function listText(list: readonly unknown[]): string | null {
  return list.length === 0 ? null : JSON.stringify(list)
}

export const MESSAGE_COLUMNS = {
  id: 'text',
  conversation_id: 'text',
  position: 'bigint',
  revision: 'bigint',
  kind: 'text',
  sender_id: 'text',
  client_message_id: 'text',
  content: 'text',
  search_text: 'text',
  links: 'text',
  mentions: 'text',
  notice: 'text',
  sent_at_ms: 'bigint',
  published_at_ms: 'bigint',
  edited_at_ms: 'bigint',
  deleted_at_ms: 'bigint',
  deleted_by: 'text',
} as const

export function toMessage(row: Selectable<ChatMessagesTable>): Message {
  return {
    id: row.id,
    conversationId: row.conversation_id,
    kind: row.kind as Message['kind'],
    position: row.position,
    revision: row.revision,
    senderId: row.sender_id,
    clientMessageId: row.client_message_id,
    content: row.content,
    ...listsOf(row),
    notice: parsedText(row.notice) as ChatNotice | null,
    sentAtMs: row.sent_at_ms,
    publishedAtMs: row.published_at_ms,
    editedAtMs: row.edited_at_ms,
    deletedAtMs: row.deleted_at_ms,
    deletedBy: row.deleted_by,
  }
}

export function rowOf(message: Message): Selectable<ChatMessagesTable> {
  return {
    id: message.id,
    conversation_id: message.conversationId,
    position: message.position,
    revision: message.revision,
    kind: message.kind,
    sender_id: message.senderId,
    client_message_id: message.clientMessageId,
    content: message.content,
    search_text: searchText(message.content),
    links: listText(message.links),
    mentions: listText(message.mentions),
    notice: message.notice === null ? null : JSON.stringify(message.notice),
    sent_at_ms: message.sentAtMs,
    published_at_ms: message.publishedAtMs,
    edited_at_ms: message.editedAtMs,
    deleted_at_ms: message.deletedAtMs,
    deleted_by: message.deletedBy,
  }
}
