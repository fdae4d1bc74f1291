/**
 * The table of commands on their way to devices: every statement that touches it. Rows and ids are passed as one parameter,
 * since compiling a statement with thousands of them costs more than running it.
 */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { type GivenColumn, givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, DeviceCommandsTable, Dialect } from '../database/schema.ts'
import type { CommandState } from './command-state.ts'
import type { CommandOwner, NewDeviceCommand } from './device-command.ts'

/** Rows of one statement. */
export const ROWS_PER_STATEMENT = 500

/** A command as it is decided upon; what it asks of the device is left out. */
export type CommandRow = Omit<
  Selectable<DeviceCommandsTable>,
  'owner' | 'state' | 'name' | 'params' | 'issued_at_ms' | 'updated_at_ms'
> & { readonly owner: CommandOwner; readonly state: CommandState }

const DECIDED_UPON = [
  'command_id',
  'owner',
  'task_id',
  'device_id',
  'site_id',
  'serial_number',
  'state',
  'expires_at_ms',
  'timeout_ms',
  'deadline_at_ms',
  'gateway_id',
  'session_id',
  'sent_at_ms',
  'stored_at_ms',
  'delivered_at_ms',
  'cancel_requested_at_ms',
  'cancel_session_id',
  'cancel_sent_at_ms',
  'finished_at_ms',
  'late_at_ms',
] as const satisfies readonly (keyof CommandRow)[]

/** What a step may change. */
const CHANGING = {
  state: 'text',
  deadline_at_ms: 'bigint',
  gateway_id: 'text',
  session_id: 'text',
  sent_at_ms: 'bigint',
  stored_at_ms: 'bigint',
  delivered_at_ms: 'bigint',
  cancel_requested_at_ms: 'bigint',
  cancel_session_id: 'text',
  cancel_sent_at_ms: 'bigint',
  finished_at_ms: 'bigint',
  late_at_ms: 'bigint',
} as const satisfies Partial<Record<keyof CommandRow, GivenColumn>>

const WRITTEN = { command_id: 'text', ...CHANGING } as const

const GIVEN_WHEN_ISSUED = {
  command_id: 'text',
  owner: 'text',
  task_id: 'text',
  device_id: 'integer',
  site_id: 'integer',
  serial_number: 'text',
  name: 'text',
  params: 'text',
  issued_at_ms: 'bigint',
  expires_at_ms: 'bigint',
  timeout_ms: 'bigint',
} as const satisfies Partial<Record<keyof DeviceCommandsTable, GivenColumn>>

/** Adds at most `ROWS_PER_STATEMENT` commands as QUEUED, on the way to where their devices are now. */
export async function insertCommands(
  dialect: Dialect,
  commands: readonly NewDeviceCommand[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  const rows = commands.map((command) => ({
    command_id: command.commandId,
    owner: command.owner,
    task_id: command.taskId,
    device_id: command.deviceId,
    site_id: command.siteId,
    serial_number: command.serialNumber,
    name: command.name,
    params: command.params,
    issued_at_ms: Math.round(command.issuedAtMs),
    expires_at_ms: Math.round(command.expiresAtMs),
    timeout_ms: Math.round(command.timeoutMs),
  }))
  const columns = sql.join(Object.keys(GIVEN_WHEN_ISSUED).map((column) => sql.ref(column)))
  const given = sql.join(Object.keys(GIVEN_WHEN_ISSUED).map((column) => sql.ref(`given.${column}`)))
  await sql`
    insert into device_commands (${columns}, state, deadline_at_ms, gateway_id, updated_at_ms)
    select ${given}, 'QUEUED', given.expires_at_ms, devices.gateway_id, cast(${Math.round(nowMs)} as bigint)
    from ${givenRows(dialect, GIVEN_WHEN_ISSUED, rows)} left join devices on devices.id = given.device_id`.execute(
    transaction,
  )
}

/** Those of `ids` that exist, by id, theirs until the transaction ends. At most `ROWS_PER_STATEMENT`. */
export async function lockCommands(
  dialect: Dialect,
  ids: readonly string[],
  transaction: Transaction<Database>,
): Promise<Map<string, CommandRow>> {
  // One order for all cores, so that two transactions cannot wait for each other's rows.
  const rows = await transaction
    .selectFrom('device_commands')
    .select(DECIDED_UPON)
    .where(sql<boolean>`command_id in ${givenTexts(dialect, ids)}`)
    .orderBy('command_id')
    .$if(dialect === 'postgres', (query) => query.forUpdate())
    .execute()
  return new Map(rows.map((row) => [row.command_id, row as CommandRow]))
}

/** Stores what steps made of locked rows. At most `ROWS_PER_STATEMENT`. */
export async function writeCommands(
  dialect: Dialect,
  rows: readonly CommandRow[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  const columns = Object.keys(CHANGING) as (keyof typeof CHANGING)[]
  await sql`
    update device_commands set
      ${sql.join(columns.map((column) => sql`${sql.ref(column)} = ${sql.ref(`given.${column}`)}`))},
      updated_at_ms = cast(${Math.round(nowMs)} as bigint)
    from ${givenRows(dialect, WRITTEN, rows)}
    where device_commands.command_id = given.command_id`.execute(transaction)
}

/** Removes some of those that ended before `beforeMs`; resolves with how many. */
export async function deleteFinished(kysely: Kysely<Database>, beforeMs: number): Promise<number> {
  const { numDeletedRows } = await kysely
    .deleteFrom('device_commands')
    .where('command_id', 'in', (e) =>
      e
        .selectFrom('device_commands')
        .select('command_id')
        .where('finished_at_ms', '<', Math.round(beforeMs))
        .orderBy('finished_at_ms')
        .limit(ROWS_PER_STATEMENT),
    )
    .executeTakeFirst()
  return Number(numDeletedRows)
}
