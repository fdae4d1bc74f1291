/** Which core runs which task: a lease in the task's row, renewed while the core lives. */

import { type ExpressionBuilder, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { RUNNABLE_STATES } from './task-state.ts'

/** Tasks taken by one statement; there may be more. */
const TASKS_PER_CLAIM = 100

export class TaskLeases {
  private readonly database: DatabaseHandle
  private readonly coreId: string
  private readonly leaseMs: number

  constructor(options: { readonly database: DatabaseHandle; readonly coreId: string; readonly leaseMs: number }) {
    this.database = options.database
    this.coreId = options.coreId
    this.leaseMs = options.leaseMs
  }

  async renew(nowMs: number): Promise<void> {
    await this.database.kysely
      .updateTable('tasks')
      .set({ runner_until_ms: nowMs + this.leaseMs })
      .where('runner', '=', this.coreId)
      .where('finished_at_ms', 'is', null)
      .execute()
  }

  /** Takes every task that nobody runs, or whose core was silent for too long; resolves with how many of the latter. */
  async claim(nowMs: number, signal: AbortSignal): Promise<number> {
    let takenOver = 0
    while (!signal.aborted) {
      const free = await this.database.kysely
        .selectFrom('tasks')
        .select(['id', 'runner'])
        .where((e) => isFree(e, nowMs))
        .orderBy('id')
        .limit(TASKS_PER_CLAIM)
        .execute()
      const ids = free.map((task) => task.id)
      if (ids.length === 0) break
      const taken = await this.database.kysely
        .updateTable('tasks')
        .set({ runner: this.coreId, runner_until_ms: nowMs + this.leaseMs })
        .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
        // Again, for another core may have been quicker.
        .where((e) => isFree(e, nowMs))
        .returning('id')
        .execute()
      const ours = new Set(taken.map((task) => task.id))
      takenOver += free.filter(({ id, runner }) => ours.has(id) && runner !== null && runner !== this.coreId).length
      if (ids.length < TASKS_PER_CLAIM) break
    }
    return takenOver
  }

  /** The tasks that this core is to run, and when each was last changed. */
  async ours(): Promise<{ readonly id: string; readonly updated_at_ms: number }[]> {
    return await this.database.kysely
      .selectFrom('tasks')
      .select(['id', 'updated_at_ms'])
      .where('finished_at_ms', 'is', null)
      .where('state', 'in', RUNNABLE_STATES)
      .where('runner', '=', this.coreId)
      .execute()
  }

  async release(): Promise<void> {
    await this.database.kysely
      .updateTable('tasks')
      .set({ runner: null, runner_until_ms: null })
      .where('runner', '=', this.coreId)
      .where('finished_at_ms', 'is', null)
      .execute()
  }
}

function isFree(e: ExpressionBuilder<Database, 'tasks'>, nowMs: number) {
  return e.and([
    e('finished_at_ms', 'is', null),
    e('state', 'in', RUNNABLE_STATES),
    e.or([e('runner_until_ms', 'is', null), e('runner_until_ms', '<', nowMs)]),
  ])
}
