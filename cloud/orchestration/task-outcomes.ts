/**
 * What becomes of the commands of tasks, told by the gateways in the transaction that stores it: progress and late answers go
 * to the device's row; an outcome either schedules the next attempt or is put into the outbox for orchestrator.responses.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import { ORCHESTRATOR_RESPONSES } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import {
  type ChangeListener,
  type CommandChange,
  type CommandState,
  type FinalState,
  isFinal,
} from '../gateways/gateways.ts'
import { takeLateSuccesses, writeLate } from './task-late-answers.ts'
import { encodeResponse, type NewResponse } from './task-messages.ts'
import { nextAttemptAtMs } from './task-plan.ts'
import { OPEN_STATES, optionsOf, type TaskRow } from './task-row.ts'

export interface OutcomeTools {
  readonly database: Pick<DatabaseHandle, 'dialect'>
  readonly outbox: Pick<Outbox, 'append'>
  readonly clock: Clock
  readonly random: Random
  /** Devices of these tasks have moved, as soon as the transaction is committed. */
  readonly onMoved: (taskIds: readonly string[]) => void
}

/** A device whose command it is. */
export interface Target {
  readonly task_id: string
  readonly position: number
  readonly command_id: string
  readonly serial_number: string
  readonly state: CommandState
  readonly attempt: number
  readonly finished_at_ms: number | null
}

type Tasks = ReadonlyMap<string, Pick<TaskRow, 'id' | 'state' | 'options' | 'expires_at_ms'>>

/** Changes that one batch brings, by what they do. */
interface Sorted {
  readonly progress: { readonly command_id: string; readonly state: CommandState }[]
  readonly again: Moved[]
  readonly ended: Ended[]
  readonly late: CommandChange[]
}

/** A device whose last command has come to its end. */
export interface Ended extends Moved {
  readonly target: Target
  readonly outcome: FinalState
  readonly atMs: number
}

interface Moved {
  readonly command_id: string
  readonly ready_at_ms: number | null
  readonly reason: string | null
  readonly response: string | null
}

/** The record of a response. */
export function responseRecord(response: NewResponse): OutboxRecord {
  return { topic: ORCHESTRATOR_RESPONSES, key: response.serialNumber, value: encodeResponse(response) }
}

export function outcomeListener(tools: OutcomeTools): ChangeListener {
  return async (changes, transaction) => {
    const nowMs = tools.clock.wallMs()
    const { dialect } = tools.database
    const targets = await targetsOf(tools, changes, transaction)
    const tasks = await tasksOf(tools, targets, transaction)
    const sorted = sort(changes, targets, tasks, { ...tools, nowMs })
    await writeProgress(tools, sorted.progress, nowMs, transaction)
    await writeNextAttempts(tools, sorted.again, nowMs, transaction)
    const mended = await takeLateSuccesses(dialect, sorted.late, targets, transaction)
    await writeOutcomes(tools, [...sorted.ended, ...mended], nowMs, transaction)
    await writeLate(dialect, sorted.late, targets, nowMs, transaction)
    const moved = new Set(changes.flatMap(({ taskId }) => (taskId === null ? [] : [taskId])))
    if (moved.size > 0) tools.onMoved([...moved])
  }
}

/** The devices whose last command is one of these. One order for all cores. */
async function targetsOf(
  { database }: OutcomeTools,
  changes: readonly CommandChange[],
  transaction: Transaction<Database>,
): Promise<Map<string, Target>> {
  const ids = changes.map((change) => change.commandId)
  const rows = await transaction
    .selectFrom('task_devices')
    .select(['task_id', 'position', 'command_id', 'serial_number', 'state', 'attempt', 'finished_at_ms'])
    .where(sql<boolean>`command_id in ${givenTexts(database.dialect, ids)}`)
    .orderBy('task_id')
    .orderBy('position')
    .$if(database.dialect === 'postgres', (query) => query.forUpdate())
    .execute()
  return new Map(rows.map((row) => [row.command_id as string, row as Target]))
}

async function tasksOf(
  { database }: OutcomeTools,
  targets: ReadonlyMap<string, Target>,
  transaction: Transaction<Database>,
): Promise<Tasks> {
  const ids = [...new Set([...targets.values()].map((target) => target.task_id))]
  if (ids.length === 0) return new Map()
  const rows = await transaction
    .selectFrom('tasks')
    .select(['id', 'state', 'options', 'expires_at_ms'])
    .where(sql<boolean>`id in ${givenTexts(database.dialect, ids)}`)
    .execute()
  return new Map(rows.map((row) => [row.id, row as TaskRow]))
}

/** Several changes of one command come in their order; the last one that is not late says how it stands. */
function sort(
  changes: readonly CommandChange[],
  targets: ReadonlyMap<string, Target>,
  tasks: Tasks,
  { nowMs, random }: { readonly nowMs: number; readonly random: Random },
): Sorted {
  const last = new Map<string, CommandChange>()
  const late: CommandChange[] = []
  for (const change of changes) {
    const target = targets.get(change.commandId)
    // Between two attempts, or when a response came by another way, the device has no use for it but to show it.
    if (change.late || target === undefined || target.finished_at_ms !== null) late.push(change)
    else last.set(change.commandId, change)
  }
  const sorted: Sorted = { progress: [], again: [], ended: [], late: late.filter(({ to }) => isFinal(to)) }
  for (const [command_id, { to, reason, payload, atMs }] of last) {
    if (!isFinal(to)) {
      sorted.progress.push({ command_id, state: to })
      continue
    }
    const target = targets.get(command_id) as Target
    const task = tasks.get(target.task_id)
    const ready_at_ms =
      task?.state === 'RUNNING'
        ? nextAttemptAtMs({
            outcome: to,
            attempt: target.attempt,
            task: optionsOf(task),
            nowMs,
            expiresAtMs: task.expires_at_ms,
            random,
          })
        : null
    const moved = { command_id, ready_at_ms, reason: storable(reason), response: payload }
    if (ready_at_ms === null) sorted.ended.push({ ...moved, target, outcome: to, atMs })
    else sorted.again.push({ ...moved, reason: storable(`attempt ${target.attempt}: ${to}${because(reason)}`) })
  }
  return sorted
}

async function writeProgress(
  { database }: OutcomeTools,
  progress: Sorted['progress'],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  if (progress.length === 0) return
  const given = givenRows(database.dialect, { command_id: 'text', state: 'text' }, progress)
  await sql`
    update task_devices set state = given.state, updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.command_id = given.command_id
      and task_devices.state in (${sql.join(OPEN_STATES)})`.execute(transaction)
}

async function writeNextAttempts(
  { database }: OutcomeTools,
  again: readonly Moved[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  if (again.length === 0) return
  const given = givenRows(
    database.dialect,
    { command_id: 'text', ready_at_ms: 'bigint', reason: 'text', response: 'text' },
    again,
  )
  await sql`
    update task_devices set
      state = 'QUEUED', command_id = null, ready_at_ms = given.ready_at_ms, reason = given.reason,
      response = given.response, updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.command_id = given.command_id`.execute(transaction)
}

async function writeOutcomes(
  { database, outbox }: OutcomeTools,
  ended: readonly Ended[],
  nowMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  if (ended.length === 0) return
  const rows = ended.map(({ command_id, outcome, reason, response }) => ({ command_id, outcome, reason, response }))
  const given = givenRows(
    database.dialect,
    { command_id: 'text', outcome: 'text', reason: 'text', response: 'text' },
    rows,
  )
  await sql`
    update task_devices set
      outcome = given.outcome, reason = given.reason, response = given.response,
      finished_at_ms = cast(${nowMs} as bigint), updated_at_ms = cast(${nowMs} as bigint)
    from ${given}
    where task_devices.command_id = given.command_id`.execute(transaction)
  const records = ended.map(({ target, outcome, atMs, reason, response }) =>
    responseRecord({
      taskId: target.task_id,
      commandId: target.command_id,
      serialNumber: target.serial_number,
      outcome,
      atMs,
      payload: response,
      reason,
      attempt: target.attempt,
    }),
  )
  await outbox.append(records, transaction)
}

/** PostgreSQL stores no NUL. */
function storable(reason: string | null): string | null {
  return reason?.replaceAll('\0', '') ?? null
}

function because(reason: string | null): string {
  return reason === null ? '' : `, ${reason}`
}
