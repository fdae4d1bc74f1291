/** Conversations: who is in them, what was said, how far each has come in them, and who is there. */

import type { SchemaModule } from 'kysely'
import type { Migration } from '../migrate.ts'

export const chat: Migration = {
  number: 5,
  name: 'chat',
  async up(schema) {
    await createConversations(schema)
    await createMessages(schema)
    await createPresence(schema)
  },
}

async function createConversations(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('conversations')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('kind', 'text', (column) => column.notNull())
    // Null where the title follows what the conversation is about, or whom it is with.
    .addColumn('title', 'text')
    // The site, task or alert that it is about.
    .addColumn('subject_id', 'text')
    // Who may see it, for when it is not kept any more: its sites, a JSON list, and who asked for it.
    .addColumn('subject_sites', 'text')
    .addColumn('subject_asked_by', 'text')
    // The number of the last change: each message, edit, deletion and notice takes the next one.
    .addColumn('last_revision', 'bigint', (column) => column.notNull())
    .addColumn('last_message_at_ms', 'bigint')
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('archived_at_ms', 'bigint')
    .addColumn('archived_by', 'text')
    .execute()
  await schema.createIndex('conversations_updated').on('conversations').columns(['updated_at_ms', 'id']).execute()
  await schema
    .createTable('conversation_members')
    .addColumn('conversation_id', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('joined_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('left_at_ms', 'bigint')
    // High-water marks, none of which ever goes back: up to where it was read, delivered, and notified of.
    .addColumn('read_position', 'bigint', (column) => column.notNull())
    .addColumn('delivered_position', 'bigint', (column) => column.notNull())
    .addColumn('notified_position', 'bigint', (column) => column.notNull())
    .addColumn('read_at_ms', 'bigint')
    .addColumn('delivered_at_ms', 'bigint')
    .addPrimaryKeyConstraint('conversation_members_key', ['conversation_id', 'user_id'])
    .execute()
  await schema
    .createIndex('conversation_members_user')
    .on('conversation_members')
    .columns(['user_id', 'conversation_id'])
    .execute()
}

async function createMessages(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('chat_messages')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('conversation_id', 'text', (column) => column.notNull())
    .addColumn('position', 'bigint', (column) => column.notNull())
    .addColumn('revision', 'bigint', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('sender_id', 'text', (column) => column.notNull())
    .addColumn('client_message_id', 'text')
    .addColumn('content', 'text', (column) => column.notNull())
    // The content in lower case, since databases differ in what they take for the same letter.
    .addColumn('search_text', 'text', (column) => column.notNull())
    // JSON lists; null for none.
    .addColumn('links', 'text')
    .addColumn('mentions', 'text')
    // Of a notice, JSON: what happened.
    .addColumn('notice', 'text')
    .addColumn('sent_at_ms', 'bigint', (column) => column.notNull())
    // When the bus had it; null while it waits.
    .addColumn('published_at_ms', 'bigint')
    .addColumn('edited_at_ms', 'bigint')
    .addColumn('deleted_at_ms', 'bigint')
    .addColumn('deleted_by', 'text')
    .addUniqueConstraint('chat_messages_position', ['conversation_id', 'position'])
    .execute()
  await schema
    .createIndex('chat_messages_revision')
    .on('chat_messages')
    .columns(['conversation_id', 'revision'])
    .execute()
  await schema
    .createIndex('chat_messages_conversation_sent')
    .on('chat_messages')
    .columns(['conversation_id', 'sent_at_ms', 'id'])
    .execute()
  await schema.createIndex('chat_messages_sent').on('chat_messages').column('sent_at_ms').execute()
  await schema
    .createTable('chat_message_revisions')
    .addColumn('message_id', 'text', (column) => column.notNull())
    // Of the change that replaced it.
    .addColumn('replaced_by_revision', 'bigint', (column) => column.notNull())
    .addColumn('content', 'text', (column) => column.notNull())
    .addColumn('links', 'text')
    .addColumn('mentions', 'text')
    .addColumn('replaced_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('replaced_by', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('chat_message_revisions_key', ['message_id', 'replaced_by_revision'])
    .execute()
  await schema
    .createTable('chat_notices_due')
    .addColumn('conversation_id', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('position', 'bigint', (column) => column.notNull())
    .addColumn('due_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('chat_notices_due_key', ['conversation_id', 'user_id'])
    .execute()
  await schema.createIndex('chat_notices_due_at').on('chat_notices_due').column('due_at_ms').execute()
}

async function createPresence(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('chat_cores')
    .addColumn('core_id', 'text', (column) => column.primaryKey())
    .addColumn('seen_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createTable('chat_connections')
    .addColumn('core_id', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('chat_connections_key', ['core_id', 'user_id'])
    .execute()
  await schema.createIndex('chat_connections_user').on('chat_connections').column('user_id').execute()
  await schema
    .createTable('chat_presence')
    .addColumn('user_id', 'text', (column) => column.primaryKey())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('last_seen_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema.createIndex('chat_presence_updated').on('chat_presence').columns(['updated_at_ms', 'user_id']).execute()
}
