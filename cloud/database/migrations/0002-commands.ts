/** Leases of gateways, commands on their way to devices, single commands, tasks over many devices, and the outbox. */

import { sql } from 'kysely'
import type { Migration } from '../migrate.ts'

export const commands: Migration = {
  number: 2,
  name: 'commands',
  async up(schema, dialect) {
    await schema
      .createTable('gateway_leases')
      .addColumn('gateway_id', 'text', (column) => column.primaryKey())
      .addColumn('core_id', 'text', (column) => column.notNull())
      .addColumn('session_id', 'text', (column) => column.notNull())
      .addColumn('until_ms', 'bigint', (column) => column.notNull())
      .execute()
    await schema.createIndex('gateway_leases_core').on('gateway_leases').columns(['core_id']).execute()

    await schema
      .createTable('device_commands')
      .addColumn('command_id', 'text', (column) => column.primaryKey())
      .addColumn('owner', 'text', (column) => column.notNull())
      .addColumn('task_id', 'text')
      .addColumn('device_id', 'integer', (column) => column.notNull())
      .addColumn('site_id', 'integer', (column) => column.notNull())
      .addColumn('serial_number', 'text', (column) => column.notNull())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('issued_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('timeout_ms', 'bigint', (column) => column.notNull())
      .addColumn('deadline_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('gateway_id', 'text')
      .addColumn('session_id', 'text')
      .addColumn('sent_at_ms', 'bigint')
      .addColumn('stored_at_ms', 'bigint')
      .addColumn('delivered_at_ms', 'bigint')
      .addColumn('cancel_requested_at_ms', 'bigint')
      .addColumn('cancel_session_id', 'text')
      .addColumn('cancel_sent_at_ms', 'bigint')
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('late_at_ms', 'bigint')
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      // Last, since they may be large; see the outbox.
      .addColumn('params', 'text', (column) => column.notNull())
      .execute()
    // Each of these holds only what one question of the dispatcher is about, so it stays small, however many commands
    // there were: what its gateways are to be handed, what may have to go another way, what is to be asked back, what is
    // to be given up.
    await schema
      .createIndex('device_commands_unstored')
      .on('device_commands')
      .columns(['gateway_id', 'issued_at_ms', 'command_id'])
      .where(sql.ref('finished_at_ms'), 'is', null)
      .where(sql.ref('stored_at_ms'), 'is', null)
      .execute()
    await schema
      .createIndex('device_commands_waiting')
      .on('device_commands')
      .columns(['command_id'])
      .where(sql.ref('finished_at_ms'), 'is', null)
      .where(sql.ref('session_id'), 'is', null)
      .execute()
    await schema
      .createIndex('device_commands_cancelling')
      .on('device_commands')
      .columns(['gateway_id'])
      .where(sql.ref('finished_at_ms'), 'is', null)
      .where(sql.ref('cancel_requested_at_ms'), 'is not', null)
      .execute()
    await schema
      .createIndex('device_commands_open')
      .on('device_commands')
      .columns(['deadline_at_ms'])
      .where(sql.ref('finished_at_ms'), 'is', null)
      .execute()
    await schema
      .createIndex('device_commands_finished')
      .on('device_commands')
      .columns(['finished_at_ms'])
      .where(sql.ref('finished_at_ms'), 'is not', null)
      .execute()

    await schema
      .createTable('commands')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('device_id', 'text', (column) => column.notNull())
      .addColumn('site_id', 'integer')
      .addColumn('registered_device_id', 'integer')
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('payload', 'text')
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('sent_at_ms', 'bigint')
      .addColumn('delivery_state', 'text')
      .addColumn('delivery_reason', 'text')
      .addColumn('delivered_at_ms', 'bigint')
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('response', 'text')
      .addColumn('late_state', 'text')
      .addColumn('late_response', 'text')
      .addColumn('late_at_ms', 'bigint')
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    await schema.createIndex('commands_created').on('commands').columns(['created_at_ms', 'id']).execute()
    await schema.createIndex('commands_device').on('commands').columns(['device_id', 'created_at_ms', 'id']).execute()
    // For lists of what is rare among very many: those of a site, of a registered device, those that are not sent.
    for (const column of ['site_id', 'registered_device_id'] as const) {
      await schema.createIndex(`commands_${column}`).on('commands').columns([column, 'created_at_ms', 'id']).execute()
    }
    await schema
      .createIndex('commands_pending')
      .on('commands')
      .columns(['created_at_ms', 'id'])
      .where(sql.ref('status'), '=', sql.lit('pending'))
      .execute()
    await schema.createIndex('commands_updated').on('commands').columns(['updated_at_ms']).execute()

    await schema
      .createTable('tasks')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('command_type', 'text', (column) => column.notNull())
      .addColumn('command_params', 'text', (column) => column.notNull())
      .addColumn('requested_by', 'text', (column) => column.notNull())
      .addColumn('source', 'text', (column) => column.notNull())
      .addColumn('options', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('reason', 'text')
      .addColumn('round', 'integer', (column) => column.notNull())
      .addColumn('executed_round', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('device_count', 'integer', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('start_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('started_at_ms', 'bigint')
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('runner', 'text')
      .addColumn('runner_until_ms', 'bigint')
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    await schema.createIndex('tasks_created').on('tasks').columns(['created_at_ms', 'id']).execute()
    await schema.createIndex('tasks_updated').on('tasks').columns(['updated_at_ms']).execute()
    await schema
      .createIndex('tasks_open')
      .on('tasks')
      .columns(['runner_until_ms'])
      .where(sql.ref('finished_at_ms'), 'is', null)
      .execute()

    await schema
      .createTable('task_devices')
      .addColumn('task_id', 'text', (column) => column.notNull())
      .addColumn('position', 'integer', (column) => column.notNull())
      .addColumn('serial_number', 'text', (column) => column.notNull())
      .addColumn('site_id', 'integer')
      .addColumn('device_id', 'integer')
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('outcome', 'text')
      .addColumn('attempt', 'integer', (column) => column.notNull())
      .addColumn('command_id', 'text')
      .addColumn('ready_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('reason', 'text')
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('late_state', 'text')
      .addColumn('late_at_ms', 'bigint')
      .addColumn('updated_at_ms', 'bigint', (column) => column.notNull())
      // Last, since they may be large; see the outbox.
      .addColumn('response', 'text')
      .addColumn('late_response', 'text')
      .addPrimaryKeyConstraint('task_devices_key', ['task_id', 'position'])
      .execute()
    await schema
      .createIndex('task_devices_state')
      .on('task_devices')
      .columns(['task_id', 'state', 'position'])
      .execute()
    await schema.createIndex('task_devices_command').on('task_devices').columns(['command_id']).execute()

    await schema
      .createTable('outbox')
      .addColumn('id', dialect === 'sqlite' ? 'integer' : 'bigint', (column) =>
        dialect === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey().generatedByDefaultAsIdentity(),
      )
      .addColumn('topic', 'text', (column) => column.notNull())
      .addColumn('key', 'text')
      .addColumn('owner', 'text')
      .addColumn('owner_id', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('available_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('lease_by', 'text')
      .addColumn('lease_until_ms', 'bigint')
      .addColumn('sent_at_ms', 'bigint')
      .addColumn('failures', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('error', 'text')
      // Last: on SQLite what stands behind a large value is read through all of it, and these are large.
      .addColumn('headers', 'text')
      .addColumn('value', 'text', (column) => column.notNull())
      .execute()
    await schema
      .createIndex('outbox_unsent')
      .on('outbox')
      .columns(['id'])
      .where(sql.ref('sent_at_ms'), 'is', null)
      .execute()
    // Never more rows than the cores publish at the moment: which keys those have is asked for with every claim.
    await schema
      .createIndex('outbox_leased')
      .on('outbox')
      .columns(['lease_until_ms'])
      .where(sql.ref('sent_at_ms'), 'is', null)
      .where(sql.ref('lease_until_ms'), 'is not', null)
      .execute()
    await schema.createIndex('outbox_sent').on('outbox').columns(['sent_at_ms']).execute()
    await schema.createIndex('outbox_owner').on('outbox').columns(['owner', 'owner_id']).execute()
  },
}
