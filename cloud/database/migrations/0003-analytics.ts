/** Readings and their roll-ups, statuses, alerts, notifications, records set aside, dead letters, and duties of one core. */

import { type SchemaModule, sql, type Transaction } from 'kysely'
import type { Migration } from '../migrate.ts'
import type { Database, Dialect } from '../schema.ts'
import { createSetAside } from './0003-set-aside.ts'

/** Tables by time; on PostgreSQL their partitions are made as the data needs them (cloud/telemetry). */
const ROLLUPS = ['rollups_1m', 'rollups_15m', 'rollups_1h', 'rollups_1d'] as const

export const analytics: Migration = {
  number: 3,
  name: 'analytics',
  async up(schema, dialect, transaction) {
    await createTelemetry(schema, dialect, transaction)
    await createStatuses(schema)
    await createAlerts(schema)
    await createNotifications(schema)
    await createSetAside(schema, dialect)
    await schema
      .createTable('duties')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('holder', 'text', (column) => column.notNull())
      .addColumn('until_ms', 'bigint', (column) => column.notNull())
      .execute()
  },
}

async function createTelemetry(
  schema: SchemaModule,
  dialect: Dialect,
  transaction: Transaction<Database>,
): Promise<void> {
  const readings = schema
    .createTable('readings')
    .addColumn('device_id', 'integer', (column) => column.notNull())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('fields', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('readings_key', ['device_id', 'at_ms', 'seq'])
  await readings.modifyEnd(byTime(dialect, 'at_ms')).execute()
  for (const table of ROLLUPS) {
    const rollups = schema
      .createTable(table)
      .addColumn('device_id', 'integer', (column) => column.notNull())
      .addColumn('bucket_ms', 'bigint', (column) => column.notNull())
      .addColumn('records', 'integer', (column) => column.notNull())
      .addColumn('fields', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint(`${table}_key`, ['device_id', 'bucket_ms'])
    await rollups.modifyEnd(byTime(dialect, 'bucket_ms')).execute()
  }
  await schema
    .createTable('time_partitions')
    .addColumn('table_name', 'text', (column) => column.notNull())
    .addColumn('from_ms', 'bigint', (column) => column.notNull())
    .addColumn('to_ms', 'bigint', (column) => column.notNull())
    .addColumn('written_at_ms', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('time_partitions_key', ['table_name', 'from_ms'])
    .execute()
  await schema
    .createTable('rollup_deltas')
    .addColumn('id', dialect === 'sqlite' ? 'integer' : 'bigint', (column) =>
      dialect === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey().generatedByDefaultAsIdentity(),
    )
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('readings', 'integer', (column) => column.notNull())
    .addColumn('entries', 'integer', (column) => column.notNull())
    .addColumn('body', 'text', (column) => column.notNull())
    .execute()
  if (dialect === 'postgres') {
    // They live for seconds: compressing them costs more than the space.
    await sql`alter table rollup_deltas alter column body set storage external`.execute(transaction)
    // Every row is replaced again and again: with room beside it its index need not be touched.
    await sql`alter table latest_values set (fillfactor = 50)`.execute(transaction)
  }
  await schema.alterTable('latest_values').addColumn('heard_at_ms', 'bigint').execute()
  await schema.alterTable('gateway_gaps').addColumn('from_ms', 'bigint').execute()
  await schema.alterTable('gateway_gaps').addColumn('to_ms', 'bigint').execute()
}

function byTime(dialect: Dialect, column: string) {
  return dialect === 'sqlite' ? sql`without rowid` : sql`partition by range (${sql.ref(column)})`
}

async function createStatuses(schema: SchemaModule): Promise<void> {
  await schema.alterTable('devices').addColumn('silent_after_ms', 'bigint').execute()
  await schema.alterTable('devices').addColumn('silent_since_ms', 'bigint').execute()
  await schema.alterTable('devices').addColumn('status_repeated_at_ms', 'bigint').execute()
  await schema
    .createIndex('devices_silent')
    .on('devices')
    .columns(['id'])
    .where(sql.ref('silent_since_ms'), 'is not', null)
    .execute()
  await schema
    .createTable('status_history')
    .addColumn('device_id', 'integer', (column) => column.notNull())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('previous_status', 'text')
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('gateway_id', 'text')
    .addColumn('backfill', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('status_history_key', ['device_id', 'at_ms', 'seq'])
    .execute()
  await schema.createIndex('status_history_age').on('status_history').columns(['at_ms']).execute()
  await schema
    .createTable('gateway_outages')
    .addColumn('gateway_id', 'text', (column) => column.notNull())
    .addColumn('since_ms', 'bigint', (column) => column.notNull())
    .addColumn('noticed_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('ended_at_ms', 'bigint')
    .addPrimaryKeyConstraint('gateway_outages_key', ['gateway_id', 'since_ms'])
    .execute()
  await schema
    .createIndex('gateway_outages_open')
    .unique()
    .on('gateway_outages')
    .columns(['gateway_id'])
    .where(sql.ref('ended_at_ms'), 'is', null)
    .execute()
}

async function createAlerts(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('alert_rules')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('enabled', 'integer', (column) => column.notNull())
    .addColumn('severity', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer')
    .addColumn('device_type', 'text')
    .addColumn('device_id', 'integer')
    // What is compared with what, who is told, the escalation: JSON whose form belongs to cloud/alerts.
    .addColumn('condition', 'text', (column) => column.notNull())
    .addColumn('recipients', 'text', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('deleted_at_ms', 'bigint')
    .execute()
  await schema.createIndex('alert_rules_created').on('alert_rules').columns(['created_at_ms', 'id']).execute()
  await schema.createIndex('alert_rules_updated').on('alert_rules').columns(['updated_at_ms']).execute()
  await schema
    .createTable('alert_states')
    .addColumn('rule_id', 'text', (column) => column.notNull())
    .addColumn('device_id', 'integer', (column) => column.notNull())
    // 'live', or 'past' for what is backfilled beside it.
    .addColumn('track', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('since_ms', 'bigint', (column) => column.notNull())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('alert_id', 'text')
    .addColumn('rule_version', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('alert_states_key', ['rule_id', 'device_id', 'track'])
    .execute()
  await schema
    .createIndex('alert_states_device')
    .on('alert_states')
    .columns(['device_id'])
    .where(sql.ref('state'), '<>', 'OK')
    .execute()
  await schema
    .createIndex('alert_states_alert')
    .on('alert_states')
    .columns(['alert_id'])
    .where(sql.ref('alert_id'), 'is not', null)
    .execute()
  await schema
    .createTable('alerts')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('rule_id', 'text', (column) => column.notNull())
    .addColumn('rule_name', 'text', (column) => column.notNull())
    .addColumn('severity', 'text', (column) => column.notNull())
    .addColumn('site_id', 'integer', (column) => column.notNull())
    .addColumn('device_id', 'integer', (column) => column.notNull())
    .addColumn('serial_number', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    // 1 when it was found in backfilled data, after the fact.
    .addColumn('past', 'integer', (column) => column.notNull())
    .addColumn('since_ms', 'bigint', (column) => column.notNull())
    .addColumn('opened_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('closed_at_ms', 'bigint')
    .addColumn('close_reason', 'text')
    .addColumn('acknowledged_at_ms', 'bigint')
    .addColumn('acknowledged_by', 'text')
    .addColumn('acknowledged_note', 'text')
    .addColumn('escalate_at_ms', 'bigint')
    .addColumn('escalated_at_ms', 'bigint')
    .addColumn('value_opened', 'double precision', (column) => column.notNull())
    .addColumn('value_worst', 'double precision', (column) => column.notNull())
    .addColumn('value_closed', 'double precision')
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    // The rule as it was when the alert opened, JSON.
    .addColumn('rule', 'text', (column) => column.notNull())
    .execute()
  await schema.createIndex('alerts_created').on('alerts').columns(['created_at_ms', 'id']).execute()
  await schema.createIndex('alerts_updated').on('alerts').columns(['updated_at_ms']).execute()
  for (const column of ['site_id', 'device_id', 'serial_number', 'rule_id'] as const) {
    await schema.createIndex(`alerts_${column}`).on('alerts').columns([column, 'created_at_ms', 'id']).execute()
  }
  await schema
    .createIndex('alerts_open')
    .on('alerts')
    .columns(['created_at_ms', 'id'])
    .where(sql.ref('closed_at_ms'), 'is', null)
    .execute()
  await schema
    .createIndex('alerts_open_rule')
    .on('alerts')
    .columns(['rule_id'])
    .where(sql.ref('closed_at_ms'), 'is', null)
    .execute()
  await schema
    .createIndex('alerts_escalating')
    .on('alerts')
    .columns(['escalate_at_ms'])
    .where(sql.ref('escalate_at_ms'), 'is not', null)
    .execute()
}

async function createNotifications(schema: SchemaModule): Promise<void> {
  await schema
    .createTable('notifications')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('severity', 'text', (column) => column.notNull())
    .addColumn('title', 'text', (column) => column.notNull())
    .addColumn('content', 'text', (column) => column.notNull())
    .addColumn('related_entity_id', 'text')
    .addColumn('site_id', 'integer')
    // 1 when it came within the quiet hours of its user.
    .addColumn('quiet', 'integer', (column) => column.notNull())
    .addColumn('read_at_ms', 'bigint')
    // When it happened; the listing goes by when it was stored.
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createIndex('notifications_user')
    .on('notifications')
    .columns(['user_id', 'created_at_ms', 'id'])
    .execute()
  await schema
    .createIndex('notifications_unread')
    .on('notifications')
    .columns(['user_id', 'created_at_ms', 'id'])
    .where(sql.ref('read_at_ms'), 'is', null)
    .execute()
  await schema.createIndex('notifications_age').on('notifications').columns(['created_at_ms']).execute()
  await schema
    .createTable('notification_preferences')
    .addColumn('user_id', 'text', (column) => column.primaryKey())
    // JSON whose form belongs to cloud/notifications.
    .addColumn('preferences', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createTable('notification_bursts')
    .addColumn('burst_key', 'text', (column) => column.primaryKey())
    .addColumn('started_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('ends_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('told', 'integer', (column) => column.notNull())
    .addColumn('held', 'text', (column) => column.notNull())
    .execute()
  await schema.createIndex('notification_bursts_end').on('notification_bursts').columns(['ends_at_ms']).execute()
  // Notices that were part of a burst: the same one told again changes nothing.
  await schema
    .createTable('notification_burst_notices')
    .addColumn('notice_key', 'text', (column) => column.primaryKey())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema
    .createIndex('notification_burst_notices_age')
    .on('notification_burst_notices')
    .columns(['created_at_ms'])
    .execute()
  await schema
    .createTable('notification_fan_outs')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('telling', 'text', (column) => column.notNull())
    .addColumn('after_user_id', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  // When somebody last marked notifications as read.
  await schema
    .createTable('notification_reads')
    .addColumn('user_id', 'text', (column) => column.primaryKey())
    .addColumn('changed_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await schema.createIndex('notification_reads_age').on('notification_reads').columns(['changed_at_ms']).execute()
}
