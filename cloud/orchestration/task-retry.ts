/** A task is opened again for the devices that failed: what of them is in the database. */

import { type Kysely, sql, type Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import { givenRows } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { NewTaskDevice } from './task-store.ts'

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500
const POSITIONS_PER_STATEMENT = 2_000
/** Final states that another round tries to mend. */
const FAILED_STATES = ['FAILED', 'REJECTED', 'TIMED_OUT', 'EXPIRED', 'CANCELLED'] as const

/** Serial numbers of the task that were no device's, or several devices', when it was last tried. */
export async function unresolvedSerials(kysely: Kysely<Database>, taskId: string): Promise<string[]> {
  const rows = await kysely
    .selectFrom('task_devices')
    .select('serial_number')
    .where('task_id', '=', taskId)
    .where('state', 'in', FAILED_STATES)
    .where('device_id', 'is', null)
    .execute()
  return rows.map((row) => row.serial_number)
}

/**
 * Those that failed wait for a command again; they are given back in the order of the request.
 * @param resolved what the serial numbers of `unresolvedSerials` are now.
 */
export async function reopenFailed(
  dialect: Dialect,
  taskId: string,
  resolved: readonly NewTaskDevice[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<{ readonly serialNumber: string; readonly siteId: number | null }[]> {
  for await (const [from, to] of positionRanges(taskId, transaction)) {
    await transaction
      .updateTable('task_devices')
      .set({
        state: 'QUEUED',
        outcome: null,
        attempt: 0,
        command_id: null,
        ready_at_ms: nowMs,
        reason: null,
        response: null,
        finished_at_ms: null,
        late_state: null,
        late_response: null,
        late_at_ms: null,
        updated_at_ms: nowMs,
      })
      .where('task_id', '=', taskId)
      .where('position', '>=', from)
      .where('position', '<', to)
      .where('state', 'in', FAILED_STATES)
      // One whose success came too late has done it; another command would do it twice.
      .where((e) => e.or([e('late_state', 'is', null), e('late_state', '!=', 'SUCCEEDED')]))
      .execute()
  }
  for (let start = 0; start < resolved.length; start += ROWS_PER_STATEMENT) {
    const rows = resolved.slice(start, start + ROWS_PER_STATEMENT).map(({ serialNumber, siteId, deviceId, reason }) => {
      return { serial_number: serialNumber, site_id: siteId, device_id: deviceId, reason }
    })
    const columns = { serial_number: 'text', site_id: 'integer', device_id: 'integer', reason: 'text' } as const
    await sql`
      update task_devices set device_id = given.device_id, site_id = given.site_id, reason = given.reason
      from ${givenRows(dialect, columns, rows)}
      where task_devices.task_id = ${taskId} and task_devices.state = 'QUEUED' and task_devices.device_id is null
        and task_devices.serial_number = given.serial_number`.execute(transaction)
  }
  const reopened = await transaction
    .selectFrom('task_devices')
    .select(['serial_number', 'site_id'])
    .where('task_id', '=', taskId)
    .where('state', '=', 'QUEUED')
    .orderBy('position')
    .execute()
  return reopened.map((row) => ({ serialNumber: row.serial_number, siteId: row.site_id }))
}

/** All positions, some thousands at a time; other work has its turn in between, since SQLite answers at once. */
async function* positionRanges(taskId: string, transaction: Transaction<Database>): AsyncGenerator<[number, number]> {
  const { last } = await transaction
    .selectFrom('task_devices')
    .select((e) => e.fn.max('position').as('last'))
    .where('task_id', '=', taskId)
    .executeTakeFirstOrThrow()
  for (let from = 0; from <= (last ?? -1); from += POSITIONS_PER_STATEMENT) {
    yield [from, from + POSITIONS_PER_STATEMENT]
    await nextTurn()
  }
}
