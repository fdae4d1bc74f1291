/**
 * What orchestrator.responses brings: the final state of each device of a task, and with the last one the end of the task. A
 * response that comes again changes nothing, since a device that has its final state keeps it.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { TaskResponse } from './task-messages.ts'
import { OPEN_STATES } from './task-row.ts'
import type { TaskStore } from './task-store.ts'

export interface ResponseTallyOptions {
  readonly database: DatabaseHandle
  readonly store: TaskStore
  readonly clock: Clock
  /** Devices of these have their final state. */
  readonly onTallied: (taskIds: readonly string[]) => void
}

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500
const COLUMNS = { task_id: 'text', command_id: 'text', state: 'text', response: 'text' } as const

export class ResponseTally {
  private readonly options: ResponseTallyOptions
  /** Since the start. */
  readonly counts = { tallied: 0, repeated: 0, foreign: 0 }

  constructor(options: ResponseTallyOptions) {
    this.options = options
  }

  /** @throws BusbarError DATABASE_UNAVAILABLE */
  async handle(items: readonly { readonly value: TaskResponse }[]): Promise<void> {
    const responses = items.map(({ value }) => value)
    const { tasks, ours, tallied } = await this.options.database.transaction((transaction) =>
      this.tally(responses, transaction),
    )
    this.counts.tallied += tallied
    this.counts.repeated += ours - tallied
    this.counts.foreign += responses.length - ours
    if (tasks.length > 0) this.options.onTallied(tasks)
  }

  private async tally(responses: readonly TaskResponse[], transaction: Transaction<Database>) {
    const { store, clock } = this.options
    const ids = [...new Set(responses.map((response) => response.taskId))]
    // First, so that of two cores with the last responses of a task the second one sees that all are there.
    const tasks = await store.lockAll(ids, transaction)
    const known = new Set(tasks.map((task) => task.id))
    const ours = responses.filter((response) => known.has(response.taskId))
    const nowMs = clock.wallMs()
    let tallied = 0
    for (let start = 0; start < ours.length; start += ROWS_PER_STATEMENT) {
      tallied += await this.write(ours.slice(start, start + ROWS_PER_STATEMENT), nowMs, transaction)
    }
    if (tallied > 0) {
      await store.update([...known], {}, nowMs, transaction)
      await store.endFinished(tasks, nowMs, transaction)
    }
    return { tasks: [...known], ours: ours.length, tallied }
  }

  /** Resolves with how many devices got their final state. */
  private async write(
    responses: readonly TaskResponse[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<number> {
    const rows = responses.map(({ taskId, commandId, outcome, payload }) => {
      return { task_id: taskId, command_id: commandId, state: outcome, response: payload }
    })
    // What the device said is there already, unless the response is somebody else's.
    const { numAffectedRows } = await sql`
      update task_devices set
        state = given.state,
        outcome = coalesce(task_devices.outcome, given.state),
        response = case when task_devices.outcome is null then given.response else task_devices.response end,
        finished_at_ms = coalesce(task_devices.finished_at_ms, cast(${nowMs} as bigint)),
        updated_at_ms = cast(${nowMs} as bigint)
      from ${givenRows(this.options.database.dialect, COLUMNS, rows)}
      where task_devices.command_id = given.command_id and task_devices.task_id = given.task_id
        and task_devices.state in (${sql.join(OPEN_STATES)})`.execute(transaction)
    return Number(numAffectedRows ?? 0)
  }
}
