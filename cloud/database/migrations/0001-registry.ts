/** Sites, gateways, devices, what ingest has received, the latest values, and idempotency keys. */

import type { Migration } from '../migrate.ts'

export const registry: Migration = {
  number: 1,
  name: 'registry',
  async up(schema, dialect) {
    await schema
      .createTable('sites')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()

    await schema
      .createTable('gateways')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('name', 'text')
      .addColumn('software_version', 'text')
      .addColumn('boot_id', 'text')
      .addColumn('epoch', 'text')
      .addColumn('connected', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('session_id', 'text')
      .addColumn('connected_at_ms', 'bigint')
      .addColumn('last_seen_at_ms', 'bigint')
      .addColumn('backlog_records', 'bigint')
      .addColumn('backlog_bytes', 'bigint')
      .addColumn('backlog_oldest_ms', 'bigint')
      .addColumn('clock_offset_ms', 'bigint')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()

    await schema
      .createTable('devices')
      .addColumn('id', 'integer', (column) =>
        // Never an id twice, not even after a row is deleted: the bus remembers it for longer.
        dialect === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey().generatedByDefaultAsIdentity(),
      )
      .addColumn('site_id', 'integer', (column) => column.notNull().references('sites.id'))
      .addColumn('serial_number', 'text', (column) => column.notNull())
      .addColumn('device_type', 'text', (column) => column.notNull())
      .addColumn('name', 'text')
      .addColumn('gateway_id', 'text')
      .addColumn('status', 'text')
      .addColumn('status_at_ms', 'bigint')
      .addColumn('status_reason', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .addUniqueConstraint('devices_site_serial', ['site_id', 'serial_number'])
      .execute()
    await schema.createIndex('devices_gateway').on('devices').columns(['gateway_id', 'id']).execute()
    await schema.createIndex('devices_serial').on('devices').columns(['serial_number']).execute()

    await schema
      .createTable('gateway_cursors')
      .addColumn('gateway_id', 'text', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('lane', 'text', (column) => column.notNull())
      .addColumn('received', 'text', (column) => column.notNull())
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('gateway_cursors_key', ['gateway_id', 'epoch', 'lane'])
      .execute()

    await schema
      .createTable('gateway_gaps')
      .addColumn('gateway_id', 'text', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('lane', 'text', (column) => column.notNull())
      .addColumn('first_sequence', 'bigint', (column) => column.notNull())
      .addColumn('record_count', 'bigint', (column) => column.notNull())
      .addColumn('reason', 'text', (column) => column.notNull())
      .addColumn('at_ms', 'bigint', (column) => column.notNull())
      .addColumn('recorded_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('gateway_gaps_key', ['gateway_id', 'epoch', 'lane', 'first_sequence'])
      .execute()

    await schema
      .createTable('latest_values')
      .addColumn('device_id', 'integer', (column) => column.primaryKey())
      .addColumn('site_id', 'integer', (column) => column.notNull())
      .addColumn('serial_number', 'text', (column) => column.notNull())
      .addColumn('telemetry', 'text', (column) => column.notNull())
      .addColumn('event_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('received_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    await schema.createIndex('latest_values_site').on('latest_values').columns(['site_id', 'device_id']).execute()

    await schema
      .createTable('idempotency_keys')
      .addColumn('key', 'text', (column) => column.notNull())
      .addColumn('route', 'text', (column) => column.notNull())
      .addColumn('request_hash', 'text', (column) => column.notNull())
      .addColumn('status', 'integer')
      .addColumn('response', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('idempotency_keys_key', ['key', 'route'])
      .execute()
    await schema.createIndex('idempotency_keys_age').on('idempotency_keys').columns(['created_at_ms']).execute()
  },
}
