/**
 * What task.requested brings: a task of ours begins to run; one that somebody else asked for is stored first. A record that
 * comes again changes nothing.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { needsSecondPerson } from '../approvals/approvals.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import { checkCommand } from '../commands/commands.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { Registry } from '../registry/registry.ts'
import { resolveSerialNumbers } from './task-devices.ts'
import type { TaskRequest } from './task-messages.ts'
import { readOptions } from './task-options.ts'
import { nextTaskState } from './task-state.ts'
import type { NewTaskDevice, TaskStore } from './task-store.ts'
import type { TaskSettings } from './tasks.ts'

/** What is told of a task that was not made here. */
export interface ForeignRequest {
  readonly taskId: string
  readonly commandType: string
  readonly requestedBy: string
  readonly deviceIds: readonly string[]
}

export type ForeignListener = (requests: readonly ForeignRequest[], transaction: Transaction<Database>) => Promise<void>

export interface ExpansionOptions {
  readonly database: DatabaseHandle
  readonly store: TaskStore
  readonly registry: Pick<Registry, 'selection'>
  readonly settings: TaskSettings
  readonly clock: Clock
  /** Others than the API asked for these; called in the transaction that stores them. */
  readonly onForeign?: ForeignListener | undefined
  /** These have begun to run. */
  readonly onExpanded: (taskIds: readonly string[]) => void
}

export interface RequestItem {
  readonly record: Pick<ConsumedRecord, 'timestampMs'>
  readonly value: TaskRequest
}

/** A task that was not made here, ready to be stored. */
interface ForeignTask {
  readonly row: Parameters<TaskStore['insert']>[0]
  readonly devices: readonly NewTaskDevice[]
  readonly request: ForeignRequest
}

export class TaskExpansion {
  private readonly options: ExpansionOptions
  /** Tasks that others asked for, since the start. */
  foreignTasks = 0

  constructor(options: ExpansionOptions) {
    this.options = options
  }

  /** @throws BusbarError TASK_REFUSED for a value that must not be executed, DATABASE_UNAVAILABLE */
  async handle(items: readonly RequestItem[]): Promise<void> {
    const ids = [...new Set(items.map(({ value }) => value.taskId))].sort()
    const known = await this.known(ids)
    const foreign = new Map<string, ForeignTask>()
    for (const item of items) {
      const { taskId } = item.value
      if (!known.has(taskId) && !foreign.has(taskId)) foreign.set(taskId, await this.foreign(item))
    }
    const expanded = await this.options.database.transaction((transaction) =>
      this.expand(items, ids, foreign, transaction),
    )
    this.foreignTasks += expanded.foreign
    if (expanded.ids.length > 0) this.options.onExpanded(expanded.ids)
  }

  private async expand(
    items: readonly RequestItem[],
    ids: readonly string[],
    foreign: ReadonlyMap<string, ForeignTask>,
    transaction: Transaction<Database>,
  ): Promise<{ ids: string[]; foreign: number }> {
    const { store, clock } = this.options
    const inserted: ForeignRequest[] = []
    for (const { row, devices, request } of foreign.values()) {
      if (await store.insert(row, devices, transaction)) inserted.push(request)
    }
    if (inserted.length > 0) await this.options.onForeign?.(inserted, transaction)
    const expanded: string[] = []
    for (const task of await store.lockAll(ids, transaction)) {
      const rounds = items.filter(({ value }) => value.taskId === task.id).map(({ value }) => value.round)
      const state = nextTaskState(task.state, 'expanded')
      // A round is expanded once; a record of an earlier one, which comes again, is not that of this one.
      if (state === null || task.executed_round >= task.round) continue
      if (!rounds.includes(task.round) && !(task.source === 'topic' && task.round === 1)) continue
      const nowMs = clock.wallMs()
      const begun = { state, executed_round: task.round, started_at_ms: task.started_at_ms ?? nowMs }
      await store.update([task.id], { ...begun, runner: null, runner_until_ms: null }, nowMs, transaction)
      expanded.push(task.id)
    }
    return { ids: expanded, foreign: inserted.length }
  }

  private async known(ids: readonly string[]): Promise<Set<string>> {
    const { kysely, dialect } = this.options.database
    const rows = await kysely
      .selectFrom('tasks')
      .select('id')
      .where(sql<boolean>`id in ${givenTexts(dialect, ids)}`)
      .execute()
    return new Set(rows.map((row) => row.id))
  }

  private async foreign({ record, value }: RequestItem): Promise<ForeignTask> {
    const { settings, clock, registry } = this.options
    const nowMs = clock.wallMs()
    // Counted from when it was asked for: what lay on the topic for a week is not begun now.
    // A record without a time, which Kafka gives as -1, was asked for when it came.
    const askedAtMs = record.timestampMs > 0 ? Math.min(nowMs, record.timestampMs) : nowMs
    const read = readOptions(value.options, askedAtMs, settings)
    const problems = [
      ...checkCommand(value.commandType, value.commandParams, settings, {
        name: '/command_type',
        params: '/command_params',
      }),
      ...read.faults.map((fault) => ({ ...fault, pointer: `/options${fault.pointer}` })),
    ]
    if (needsSecondPerson(settings.secondPersonTypes ?? [], value.commandType)) {
      const remedy = 'a type that one person may give alone; ask for this one over the API (approvals.commandTypes)'
      problems.push({ pointer: '/command_type', value: value.commandType, remedy })
    }
    if (value.deviceIds.length > settings.devicesMax) {
      problems.push({ pointer: '/device_ids', remedy: `at most ${settings.devicesMax} (tasks.devicesMax)` })
    }
    if (problems.length > 0) throw refused(problems)
    const found = await registry.selection.bySerialNumbers(value.deviceIds, value.siteId)
    return {
      row: {
        id: value.taskId,
        command_type: value.commandType,
        command_params: JSON.stringify(value.commandParams),
        requested_by: value.requestedBy,
        source: 'topic',
        options: JSON.stringify(read.options),
        state: 'REQUESTED',
        round: 1,
        device_count: value.deviceIds.length,
        created_at_ms: nowMs,
        start_at_ms: read.startAtMs,
        expires_at_ms: read.expiresAtMs,
        updated_at_ms: nowMs,
      },
      devices: resolveSerialNumbers(value.deviceIds, found, value.siteId),
      request: value,
    }
  }
}

function refused(problems: readonly { readonly pointer: string; readonly remedy: string }[]): BusbarError {
  return new BusbarError(problems.map(({ pointer, remedy }) => `${pointer} must be ${remedy}`).join('; '), {
    code: 'TASK_REFUSED',
    hint: 'correct the value and produce it again under a new key',
  })
}
