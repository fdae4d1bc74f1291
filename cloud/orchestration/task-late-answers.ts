/** Answers of devices that came after their command had ended: kept beside the outcome, and heeded by what is still to come. */

import { sql, type Transaction } from 'kysely'
import { givenRows } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { CommandChange } from '../gateways/gateways.ts'
import type { Ended, Target } from './task-outcomes.ts'

/**
 * Devices that wait for another attempt when the one before turns out to have succeeded: that is their outcome then, since
 * another command would do it twice.
 */
export async function takeLateSuccesses(
  dialect: Dialect,
  late: readonly CommandChange[],
  targets: ReadonlyMap<string, Target>,
  transaction: Transaction<Database>,
): Promise<Ended[]> {
  const successes = late.filter(({ to, taskId, commandId }) => {
    return to === 'SUCCEEDED' && taskId !== null && !targets.has(commandId)
  })
  if (successes.length === 0) return []
  const given = givenRows(
    dialect,
    { task_id: 'text', device_id: 'integer', command_id: 'text' },
    successes.map(({ taskId, deviceId, commandId }) => ({
      task_id: taskId,
      device_id: deviceId,
      command_id: commandId,
    })),
  )
  const { rows } = await sql<Target>`
    update task_devices set command_id = given.command_id
    from ${given}
    where task_devices.task_id = given.task_id and task_devices.device_id = given.device_id
      and task_devices.state = 'QUEUED' and task_devices.command_id is null and task_devices.attempt > 0
      and task_devices.finished_at_ms is null
    returning task_devices.task_id, task_devices.position, task_devices.command_id, task_devices.serial_number,
      task_devices.state, task_devices.attempt, task_devices.finished_at_ms`.execute(transaction)
  const byId = new Map(successes.map((change) => [change.commandId, change]))
  return rows.map((target) => {
    const { atMs, payload } = byId.get(target.command_id) as CommandChange
    const moved = { command_id: target.command_id, ready_at_ms: null, reason: null, response: payload }
    return { ...moved, target, outcome: 'SUCCEEDED' as const, atMs }
  })
}

/** Keeps late answers beside the outcome; the first one of a device stays. */
export async function writeLate(
  dialect: Dialect,
  late: readonly CommandChange[],
  targets: ReadonlyMap<string, Target>,
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  const strangers = late.filter((change) => !targets.has(change.commandId))
  const positions = await positionsOf(dialect, strangers, transaction)
  const rows = late.flatMap(({ commandId, taskId, deviceId, to, payload, atMs }) => {
    const position = targets.get(commandId)?.position ?? positions.get(`${taskId}/${deviceId}`)
    if (taskId === null || position === undefined) return []
    return [{ task_id: taskId, position, late_state: to, late_response: payload, late_at_ms: atMs }]
  })
  if (rows.length === 0) return
  const given = givenRows(
    dialect,
    { task_id: 'text', position: 'integer', late_state: 'text', late_response: 'text', late_at_ms: 'bigint' },
    rows,
  )
  await sql`
    update task_devices set
      late_state = given.late_state, late_response = given.late_response, late_at_ms = given.late_at_ms,
      updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.task_id = given.task_id and task_devices.position = given.position
      and task_devices.late_at_ms is null`.execute(transaction)
}

/** An answer to an earlier attempt is found by its device, since the device's row has the id of the last one. */
async function positionsOf(
  dialect: Dialect,
  changes: readonly CommandChange[],
  transaction: Transaction<Database>,
): Promise<Map<string, number>> {
  const positions = new Map<string, number>()
  for (const [taskId, group] of Map.groupBy(changes, (change) => change.taskId)) {
    if (taskId === null) continue
    const given = givenRows(
      dialect,
      { device_id: 'integer' },
      group.map((change) => ({ device_id: change.deviceId })),
    )
    const rows = await transaction
      .selectFrom('task_devices')
      .select(['position', 'device_id'])
      .where('task_id', '=', taskId)
      .where(sql<boolean>`device_id in (select given.device_id from ${given})`)
      .execute()
    for (const { position, device_id } of rows) positions.set(`${taskId}/${device_id}`, position)
  }
  return positions
}
