/** Of migration 3: records that consumers set aside, and dead letters. */

import { type ColumnDefinitionBuilder, type SchemaModule, sql } from 'kysely'
import type { Dialect } from '../schema.ts'

export async function createSetAside(schema: SchemaModule, dialect: Dialect): Promise<void> {
  const binary = dialect === 'sqlite' ? sql`blob` : sql`bytea`
  const identity = dialect === 'sqlite' ? 'integer' : 'bigint'
  const id = (column: ColumnDefinitionBuilder) => {
    return dialect === 'sqlite'
      ? column.primaryKey().autoIncrement()
      : column.primaryKey().generatedByDefaultAsIdentity()
  }
  // A lane is what keeps its order: the records of a key, or one record alone that has none.
  await schema
    .createTable('parked_lanes')
    .addColumn('id', identity, id)
    .addColumn('consumer_group', 'text', (column) => column.notNull())
    .addColumn('topic', 'text', (column) => column.notNull())
    .addColumn('lane', 'text', (column) => column.notNull())
    .addColumn('parked_at_ms', 'bigint', (column) => column.notNull())
    // Of its first record; the others only wait behind it.
    .addColumn('tries', 'integer', (column) => column.notNull())
    .addColumn('error_code', 'text')
    .addColumn('error', 'text')
    .addColumn('due_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('lease_by', 'text')
    .addColumn('lease_until_ms', 'bigint')
    .addUniqueConstraint('parked_lanes_name', ['consumer_group', 'topic', 'lane'])
    .execute()
  await schema
    .createIndex('parked_lanes_due')
    .on('parked_lanes')
    .columns(['consumer_group', 'topic', 'due_at_ms'])
    .execute()
  await schema
    .createTable('parked_records')
    .addColumn('id', identity, id)
    .addColumn('lane_id', 'bigint', (column) => column.notNull())
    .addColumn('partition', 'integer', (column) => column.notNull())
    .addColumn('record_offset', 'bigint', (column) => column.notNull())
    .addColumn('timestamp_ms', 'bigint', (column) => column.notNull())
    .addColumn('key', 'text')
    .addColumn('headers', 'text', (column) => column.notNull())
    .addColumn('value', binary, (column) => column.notNull())
    // With the time of the bus, since a topic that was made anew counts from 0 again.
    .addUniqueConstraint('parked_records_once', ['lane_id', 'partition', 'record_offset', 'timestamp_ms'])
    .execute()
  await schema.createIndex('parked_records_lane').on('parked_records').columns(['lane_id', 'id']).execute()
  await schema
    .createTable('dead_letters')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('topic', 'text', (column) => column.notNull())
    .addColumn('partition', 'integer', (column) => column.notNull())
    .addColumn('record_offset', 'bigint', (column) => column.notNull())
    .addColumn('original_topic', 'text', (column) => column.notNull())
    .addColumn('key', 'text')
    .addColumn('source', 'text')
    .addColumn('code', 'text', (column) => column.notNull())
    .addColumn('message', 'text', (column) => column.notNull())
    .addColumn('retry_count', 'integer', (column) => column.notNull())
    .addColumn('failed_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('part', 'integer', (column) => column.notNull())
    .addColumn('parts', 'integer', (column) => column.notNull())
    .addColumn('set_id', 'text')
    .addColumn('replayed_at_ms', 'bigint')
    .addColumn('replays', 'integer', (column) => column.notNull())
    .addColumn('claim', 'text')
    .addColumn('claimed_until_ms', 'bigint')
    .addColumn('value_bytes', 'integer', (column) => column.notNull())
    .addColumn('timestamp_ms', 'bigint', (column) => column.notNull())
    .addColumn('envelope', 'text', (column) => column.notNull())
    // Last, so that SQLite lists without reading it.
    .addColumn('value', binary)
    .execute()
  const place = ['created_at_ms', 'record_offset', 'id']
  await schema.createIndex('dead_letters_created').on('dead_letters').columns(place).execute()
  await schema.createIndex('dead_letters_set').on('dead_letters').columns(['set_id']).execute()
  // Holds all that a summary needs.
  await schema
    .createIndex('dead_letters_kinds')
    .on('dead_letters')
    .columns(['original_topic', 'code', 'part', 'replayed_at_ms', 'created_at_ms'])
    .execute()
  // Every row that is listed is in one of these two, so that neither kind is looked for among the other.
  for (const [name, is] of [
    ['dead_letters_open', 'is'],
    ['dead_letters_replayed', 'is not'],
  ] as const) {
    await schema
      .createIndex(name)
      .on('dead_letters')
      .columns(place)
      .where(sql.ref('replayed_at_ms'), is, null)
      .where(sql.ref('part'), '=', 1)
      .execute()
  }
  for (const column of ['original_topic', 'code', 'key', 'source'] as const) {
    await schema
      .createIndex(`dead_letters_${column}`)
      .on('dead_letters')
      .columns([column, ...place])
      .execute()
  }
}
