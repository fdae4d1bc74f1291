/** The activity log: its entries, the chains that show what was changed in it, and what is known of each user's habits. */

import { type SchemaModule, sql } from 'kysely'
import type { Migration } from '../migrate.ts'

export const activity: Migration = {
  number: 6,
  name: 'activity',
  async up(schema) {
    await createLog(schema)
    await createHabits(schema)
  },
}

async function createLog(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('activity_logs')
    .addColumn('event_id', 'text', (column) => column.primaryKey())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('activity_type', 'text', (column) => column.notNull())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('stored_at_ms', 'bigint', (column) => column.notNull())
    // The chain that it is in, and its place there.
    .addColumn('day', 'text', (column) => column.notNull())
    .addColumn('place', 'bigint', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('version', 'text', (column) => column.notNull())
    .addColumn('source', 'text')
    .addColumn('recorded_by', 'text')
    .addColumn('outcome', 'text')
    .addColumn('object_type', 'text')
    .addColumn('object_id', 'text')
    .addColumn('site_id', 'bigint')
    .addColumn('correlation_id', 'text')
    .addColumn('metadata', 'text', (column) => column.notNull())
    .addColumn('sealed', 'text')
    .addUniqueConstraint('activity_logs_place', ['day', 'place'])
    .execute()
  await schema.createIndex('activity_logs_at').on('activity_logs').columns(['at_ms', 'event_id']).execute()
  await schema.createIndex('activity_logs_user').on('activity_logs').columns(['user_id', 'at_ms', 'event_id']).execute()
  await schema
    .createIndex('activity_logs_type')
    .on('activity_logs')
    .columns(['activity_type', 'at_ms', 'event_id'])
    .execute()
  await schema
    .createIndex('activity_logs_object')
    .on('activity_logs')
    .columns(['object_id', 'at_ms', 'event_id'])
    .where('object_id', 'is not', null)
    .execute()
  await schema
    .createTable('activity_days')
    .addColumn('day', 'text', (column) => column.primaryKey())
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('previous_hash', 'text', (column) => column.notNull())
    .addColumn('entries', 'bigint', (column) => column.notNull())
    .addColumn('head_hash', 'text', (column) => column.notNull())
    .addColumn('purged_at_ms', 'bigint')
    // Of all the others, with the key: an older state of the row cannot be made up.
    .addColumn('mac', 'text', (column) => column.notNull())
    .execute()
}

async function createHabits(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('activity_windows')
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('activity_type', 'text', (column) => column.notNull())
    .addColumn('window_start_ms', 'bigint', (column) => column.notNull())
    .addColumn('window_end_ms', 'bigint', (column) => column.notNull())
    .addColumn('succeeded', 'bigint', (column) => column.notNull())
    .addColumn('failed', 'bigint', (column) => column.notNull())
    .addColumn('refused', 'bigint', (column) => column.notNull())
    .addColumn('settled_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('published_at_ms', 'bigint')
    .addPrimaryKeyConstraint('activity_windows_key', ['user_id', 'activity_type', 'window_start_ms'])
    .execute()
  await schema
    .createIndex('activity_windows_end')
    .on('activity_windows')
    .columns(['window_end_ms', 'user_id'])
    .execute()
  await schema
    .createIndex('activity_windows_due')
    .on('activity_windows')
    .column('settled_at_ms')
    .where(sql.ref('published_at_ms'), 'is', null)
    .execute()
  await schema
    .createTable('activity_addresses')
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('address_hash', 'text', (column) => column.notNull())
    .addColumn('first_seen_ms', 'bigint', (column) => column.notNull())
    .addColumn('last_seen_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('activity_addresses_key', ['user_id', 'address_hash'])
    .execute()
  await schema.createIndex('activity_addresses_seen').on('activity_addresses').column('last_seen_ms').execute()
  await schema
    .createTable('activity_hours')
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('hour', 'integer', (column) => column.notNull())
    .addColumn('days', 'bigint', (column) => column.notNull())
    .addColumn('last_day', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('activity_hours_key', ['user_id', 'hour'])
    .execute()
  await schema
    .createTable('activity_suspicions')
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('pattern', 'text', (column) => column.notNull())
    .addColumn('told_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('activity_suspicions_key', ['user_id', 'pattern'])
    .execute()
}
