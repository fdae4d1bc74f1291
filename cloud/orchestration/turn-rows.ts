/** The devices of one task as its runner sees and moves them. Every statement here runs while the task's row is locked. */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import { type GivenColumn, givenRows } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import { FINAL_STATES, type FinalState } from '../gateways/gateways.ts'
import { NO_RESULTS, type TaskCounts } from './task-plan.ts'

/** Devices that one turn moves. */
export const DEVICES_PER_TURN = 500

/** A device without a command. */
export interface WaitingDevice {
  readonly position: number
  readonly serial_number: string
  readonly site_id: number | null
  readonly device_id: number | null
  readonly attempt: number
  readonly reason: string | null
}

/** @param startAtMs of the round: what ended before it belongs to an earlier one. */
export async function countDevices(
  taskId: string,
  startAtMs: number,
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<TaskCounts> {
  const { rows } = await sql<{
    phase: 'ended' | 'reported' | 'inFlight' | 'unreachable' | 'ready' | 'later'
    result: FinalState
    of_round: number
    devices: number
    commands: number
    ready_at_ms: number
  }>`
    select phase, result, of_round, count(*) as devices, sum(attempt) as commands, min(ready_at_ms) as ready_at_ms
    from (
      select
        attempt, ready_at_ms,
        case when state in (${sql.join(FINAL_STATES)}) then state else outcome end as result,
        case when finished_at_ms < ${startAtMs} then 0 else 1 end as of_round,
        case
          when state in (${sql.join(FINAL_STATES)}) then 'ended'
          when finished_at_ms is not null then 'reported'
          when command_id is not null then 'inFlight'
          when device_id is null then 'unreachable'
          when ready_at_ms <= ${nowMs} then 'ready'
          else 'later'
        end as phase
      from task_devices where task_id = ${taskId}
    ) as counted
    group by phase, result, of_round`.execute(transaction)
  const phases = { ended: 0, reported: 0, inFlight: 0, unreachable: 0, ready: 0, later: 0 }
  const results = { ...NO_RESULTS } as Record<FinalState, number>
  let issued = 0
  let nextReadyAtMs: number | null = null
  for (const row of rows) {
    phases[row.phase] += row.devices
    if (row.of_round === 1) issued += row.commands
    if (row.of_round === 1 && (row.phase === 'ended' || row.phase === 'reported')) results[row.result] += row.devices
    if (row.phase === 'later') nextReadyAtMs = row.ready_at_ms
  }
  const { ready, later, unreachable, inFlight, reported } = phases
  return { waiting: ready + later, ready, nextReadyAtMs, unreachable, inFlight, reported, results, issued }
}

/** Those that may have their next command, by position. */
export function readyDevices(taskId: string, nowMs: number, limit: number, transaction: Transaction<Database>) {
  return waiting(taskId, limit, transaction)
    .where('device_id', 'is not', null)
    .where('ready_at_ms', '<=', nowMs)
    .execute() as Promise<WaitingDevice[]>
}

/** Those without a command, by position; with `unreachable` only those that are not registered. */
export function devicesToEnd(
  taskId: string,
  unreachable: boolean,
  transaction: Transaction<Database>,
): Promise<WaitingDevice[]> {
  return waiting(taskId, DEVICES_PER_TURN, transaction)
    .$if(unreachable, (query) => query.where('device_id', 'is', null))
    .execute()
}

/** Each of these has its next attempt on the way. */
export async function markIssued(
  dialect: Dialect,
  taskId: string,
  issued: readonly { readonly position: number; readonly command_id: string }[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  const given = placed(dialect, taskId, { command_id: 'text' }, issued)
  await sql`
    update task_devices set
      command_id = given.command_id, attempt = attempt + 1, outcome = null, reason = null,
      updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.task_id = given.task_id and task_devices.position = given.position`.execute(transaction)
}

/** These end without a command; the id is that of their response. */
export async function markEnded(
  dialect: Dialect,
  taskId: string,
  outcome: FinalState,
  ended: readonly { readonly position: number; readonly command_id: string; readonly reason: string }[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  const given = placed(dialect, taskId, { command_id: 'text', reason: 'text' }, ended)
  await sql`
    update task_devices set
      command_id = given.command_id, reason = given.reason, outcome = cast(${outcome} as text),
      finished_at_ms = cast(${nowMs} as bigint), updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.task_id = given.task_id and task_devices.position = given.position`.execute(transaction)
}

/** Commands that may still be taken back, by position: the device has none of them yet. */
export async function recallable(
  taskId: string,
  afterPosition: number,
  transaction: Transaction<Database>,
): Promise<{ readonly position: number; readonly command_id: string }[]> {
  const rows = await transaction
    .selectFrom('task_devices')
    .select(['position', 'command_id'])
    .where('task_id', '=', taskId)
    .where('position', '>', afterPosition)
    .where('state', 'in', ['QUEUED', 'SENT'])
    .where('command_id', 'is not', null)
    .where('finished_at_ms', 'is', null)
    .orderBy('position')
    .limit(DEVICES_PER_TURN)
    .execute()
  return rows as { position: number; command_id: string }[]
}

/** With the whole key in each row SQLite looks the devices up; with a part of it, it would compare each with each. */
function placed(
  dialect: Dialect,
  taskId: string,
  columns: Readonly<Record<string, 'text'>>,
  rows: readonly ({ readonly position: number } & Readonly<Record<string, string | number>>)[],
): RawBuilder<unknown> {
  const keyed = rows.map((row) => ({ task_id: taskId, ...row }))
  return givenRows<Record<string, GivenColumn>>(dialect, { task_id: 'text', position: 'integer', ...columns }, keyed)
}

function waiting(taskId: string, limit: number, transaction: Transaction<Database>) {
  return transaction
    .selectFrom('task_devices')
    .select(['position', 'serial_number', 'site_id', 'device_id', 'attempt', 'reason'])
    .where('task_id', '=', taskId)
    .where('state', '=', 'QUEUED')
    .where('command_id', 'is', null)
    .where('finished_at_ms', 'is', null)
    .orderBy('position')
    .limit(limit)
}
