/** The tables of conversations; see schema.ts for what they have in common. */

import type { ColumnType } from 'kysely'

type Immutable<T> = ColumnType<T, T, never>

export interface ConversationsTable {
  id: Immutable<string>
  /** `direct`, `group`, `site`, `task` or `alert`. */
  kind: Immutable<string>
  /** Null where the title follows what the conversation is about, or whom it is with. */
  title: string | null
  /** The site, task or alert that it is about. */
  subject_id: Immutable<string | null>
  /** Who may see it, for when it is not kept any more: its sites, a JSON list, and who asked for it. */
  subject_sites: string | null
  subject_asked_by: string | null
  /** The number of the last change: each message, edit, deletion and notice takes the next one. */
  last_revision: number
  last_message_at_ms: number | null
  created_by: Immutable<string>
  created_at_ms: Immutable<number>
  updated_at_ms: number
  archived_at_ms: number | null
  archived_by: string | null
}

export interface ConversationMembersTable {
  conversation_id: Immutable<string>
  user_id: Immutable<string>
  /** `owner` or `member`. */
  role: string
  joined_at_ms: number
  /** Null while they are in it. */
  left_at_ms: number | null
  /** High-water marks, none of which ever goes back. */
  read_position: number
  delivered_position: number
  notified_position: number
  read_at_ms: number | null
  delivered_at_ms: number | null
}

export interface ChatMessagesTable {
  id: Immutable<string>
  conversation_id: Immutable<string>
  /** Its place in the conversation; never changes. */
  position: Immutable<number>
  /** The number of its last change; its position as long as it has none. */
  revision: number
  /** `MESSAGE` or `NOTICE`. */
  kind: Immutable<string>
  sender_id: Immutable<string>
  client_message_id: Immutable<string | null>
  content: string
  /** The content in lower case, since databases differ in what they take for the same letter. */
  search_text: string
  /** JSON lists; null for none. */
  links: string | null
  mentions: string | null
  /** Of a notice, JSON: what happened. */
  notice: Immutable<string | null>
  sent_at_ms: Immutable<number>
  /** When the bus had it; null while it waits. */
  published_at_ms: number | null
  edited_at_ms: number | null
  deleted_at_ms: number | null
  deleted_by: string | null
}

/** What a message said before it was changed. */
export interface ChatMessageRevisionsTable {
  message_id: Immutable<string>
  replaced_by_revision: Immutable<number>
  content: Immutable<string>
  links: Immutable<string | null>
  mentions: Immutable<string | null>
  replaced_at_ms: Immutable<number>
  replaced_by: Immutable<string>
}

/** Whom to tell of what was not delivered by then. */
export interface ChatNoticesDueTable {
  conversation_id: Immutable<string>
  user_id: Immutable<string>
  position: number
  due_at_ms: number
}

/** Cores that have sockets, and when each last said so. */
export interface ChatCoresTable {
  core_id: Immutable<string>
  seen_at_ms: number
}

/** Users who have a socket at a core. */
export interface ChatConnectionsTable {
  core_id: Immutable<string>
  user_id: Immutable<string>
  /** `online` or `away`. */
  state: string
}

/** What is shown of users. */
export interface ChatPresenceTable {
  user_id: Immutable<string>
  /** `online`, `away` or `offline`. */
  state: string
  last_seen_at_ms: number
  updated_at_ms: number
}

export interface ChatTables {
  conversations: ConversationsTable
  conversation_members: ConversationMembersTable
  chat_messages: ChatMessagesTable
  chat_message_revisions: ChatMessageRevisionsTable
  chat_notices_due: ChatNoticesDueTable
  chat_cores: ChatCoresTable
  chat_connections: ChatConnectionsTable
  chat_presence: ChatPresenceTable
}
