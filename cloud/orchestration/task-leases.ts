/** Which core runs which task: a lease in the task's row, renewed while the core lives. */

import { type ExpressionBuilder, sql, type Transaction, type Updateable } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database, TasksTable } from '../database/schema.ts'
import { nextTaskState, RUNNABLE_STATES, stepsOf } from './task-state.ts'
import type { TaskStore } from './task-store.ts'

/** Tasks taken by one statement; there may be more. */
const TASKS_PER_CLAIM = 100

export class TaskLeases {
  private readonly database: DatabaseHandle
  private readonly store: TaskStore
  private readonly coreId: string
  private readonly leaseMs: number

  constructor(options: {
    readonly database: DatabaseHandle
    readonly store: TaskStore
    readonly coreId: string
    readonly leaseMs: number
  }) {
    this.database = options.database
    this.store = options.store
    this.coreId = options.coreId
    this.leaseMs = options.leaseMs
  }

  async renew(nowMs: number): Promise<void> {
    await this.ofOurs({ runner_until_ms: nowMs + this.leaseMs })
  }

  async release(): Promise<void> {
    await this.ofOurs({ runner: null, runner_until_ms: null })
  }

  /** Takes every task that nobody runs, or whose core was silent for too long; resolves with how many of the latter. */
  async claim(nowMs: number, signal: AbortSignal): Promise<number> {
    let takenOver = 0
    while (!signal.aborted) {
      const taken = await this.database.transaction((transaction) => this.claimSome(nowMs, transaction))
      takenOver += taken.filter(({ runner }) => runner !== null && runner !== this.coreId).length
      if (taken.length < TASKS_PER_CLAIM) break
    }
    return takenOver
  }

  /**
   * Tasks whose task.requested did not come back before they expired begin all the same, since somebody has to say of their
   * devices that they expired; nothing is issued any more.
   */
  async beginExpired(nowMs: number): Promise<void> {
    const waiting = stepsOf('expanded').map(({ from }) => from)
    const overdue = await this.database.kysely
      .selectFrom('tasks')
      .select('id')
      .where('finished_at_ms', 'is', null)
      .where('state', 'in', waiting)
      .where('expires_at_ms', '<=', nowMs)
      .orderBy('id')
      .limit(TASKS_PER_CLAIM)
      .execute()
    if (overdue.length === 0) return
    const ids = overdue.map((task) => task.id)
    await this.database.transaction(async (transaction) => {
      for (const task of await this.store.lockAll(ids, transaction)) {
        const state = nextTaskState(task.state, 'expanded')
        if (state === null || task.expires_at_ms > nowMs) continue
        await this.store.update([task.id], { state, executed_round: task.round }, nowMs, transaction)
      }
    })
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

  /** Resolves with the tasks and who ran them before. */
  private async claimSome(nowMs: number, transaction: Transaction<Database>) {
    const { dialect } = this.database
    const free = await transaction
      .selectFrom('tasks')
      .select(['id', 'runner'])
      .where((e) => isFree(e, nowMs))
      .orderBy('id')
      .limit(TASKS_PER_CLAIM)
      // Whoever has a lock is taking it, or froze while it ran it: that one is for later, the others are not to wait for it.
      .$if(dialect === 'postgres', (query) => query.forUpdate().skipLocked())
      .execute()
    if (free.length === 0) return []
    const ids = free.map((task) => task.id)
    await transaction
      .updateTable('tasks')
      .set({ runner: this.coreId, runner_until_ms: nowMs + this.leaseMs })
      .where(sql<boolean>`id in ${givenTexts(dialect, ids)}`)
      .execute()
    return free
  }

  /** In a transaction, since it is repeated when another one was in the way. */
  private async ofOurs(changes: Updateable<TasksTable>): Promise<void> {
    await this.database.transaction(async (transaction) => {
      await transaction
        .updateTable('tasks')
        .set(changes)
        .where('runner', '=', this.coreId)
        .where('finished_at_ms', 'is', null)
        .execute()
    })
  }
}

function isFree(e: ExpressionBuilder<Database, 'tasks'>, nowMs: number) {
  return e.and([
    e('finished_at_ms', 'is', null),
    e('state', 'in', RUNNABLE_STATES),
    e.or([e('runner_until_ms', 'is', null), e('runner_until_ms', '<', nowMs)]),
  ])
}
