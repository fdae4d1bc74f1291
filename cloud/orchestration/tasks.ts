/**
 * Tasks as the API asks for them: made, shown, cancelled and tried again. What is made here is put into the outbox for
 * task.requested in the same transaction; everything after that begins when the record is read back.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { TASK_REQUESTED } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import { type CommandRules, checkCommand } from '../commands/commands.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { CommandState } from '../gateways/gateways.ts'
import { NotAllowedAtError } from '../registry/errors.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { Registry } from '../registry/registry.ts'
import { EVERYWHERE, type SiteAccess, sitesBeyond } from '../registry/site-scope.ts'
import {
  chooseDevices,
  commandable,
  type DeviceChoice,
  resolveSerialNumbers,
  type TaskProblem,
} from './task-devices.ts'
import { cannotCancel, cannotRetry, TaskRefusedError } from './task-errors.ts'
import { encodeRequest, REQUEST_BYTES_MAX } from './task-messages.ts'
import { optionsBody, type ReadOptions, type RequestedOptions, readOptions } from './task-options.ts'
import { reopenFailed, unresolvedSerials } from './task-retry.ts'
import { optionsOf, type TaskDeviceView, type TaskSight, type TaskView } from './task-row.ts'
import { addTaskSites } from './task-sites.ts'
import { nextTaskState, type TaskState } from './task-state.ts'
import { type EndedListener, type NewTaskDevice, type TaskFilter, TaskStore } from './task-store.ts'

export interface TaskSettings extends CommandRules {
  /** Devices of one task; more are refused. */
  readonly devicesMax: number
  /** Devices of one task that may have their command at one time, where the request does not say. */
  readonly concurrency: number
  /** How long after its core died another one takes a task over, milliseconds. */
  readonly leaseMs: number
  /** How long a task takes at most where the request does not say, milliseconds. */
  readonly expiryMs: number
  /** How long a device may take to answer where the request does not say, milliseconds. */
  readonly timeoutMs: number
  /** How long finished tasks are kept, days. */
  readonly keptDays: number
  /** Command types that one person may not give alone: a task.requested of others with one is refused. */
  readonly secondPersonTypes?: readonly string[]
}

export interface TasksOptions {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly registry: Pick<Registry, 'selection'>
  readonly settings: TaskSettings
  /** Tasks have come to a final state, however that was; told of each round once. */
  readonly onEnded?: EndedListener
  readonly clock: Clock
  readonly random: Random
}

export interface NewTask extends DeviceChoice {
  readonly commandType: string
  /** Any JSON; absent or null for none. */
  readonly commandParams?: unknown
  readonly requestedBy: string
  /** Match their schema. */
  readonly options?: RequestedOptions | undefined
}

/** Runs in the transaction that stores a task; may run again, so it has no effect outside. */
export type WithTask = (task: TaskView, transaction: Transaction<Database>) => Promise<void>

/** The owner's name at the outbox and at the commands on their way to devices. */
export const TASK_OWNER = 'task'
const COMMAND_PLACES = { name: '/command_type', params: '/command_params' }

export class Tasks {
  readonly store: TaskStore
  private readonly options: TasksOptions
  private onChanged: (taskId: string) => void = () => undefined

  constructor(options: TasksOptions) {
    this.options = options
    this.store = new TaskStore(options.database, options.onEnded)
  }

  /** For the orchestration: called when a task was changed here, after the commit. */
  listen(onChanged: (taskId: string) => void): void {
    this.onChanged = onChanged
  }

  /**
   * Stores the task, its devices and its task.requested, all or nothing; when it resolves they are durable and under way.
   * @param also joins in that transaction.
   * @param access of whoever asks: devices that they do not see are unknown ones.
   * @throws TaskRefusedError, NotAllowedAtError; BusbarError DATABASE_UNAVAILABLE
   */
  async create(request: NewTask, also?: WithTask, access = EVERYWHERE): Promise<TaskView> {
    const { settings, clock, random, database } = this.options
    const nowMs = clock.wallMs()
    const read = readOptions(request.options ?? {}, nowMs, settings)
    const devices = await this.chosen(request, read, access)
    const id = randomHex(random, 12)
    const params = JSON.stringify(request.commandParams ?? null)
    const value = encodeRequest({
      ...request,
      commandParams: params,
      deviceIds: devices.map((device) => device.serialNumber),
      options: optionsBody(read.options, read.startAtMs, read.expiresAtMs),
      round: 1,
      siteId: commonSite(devices),
    })
    refuseTooLarge(value)
    const task = await database.transaction(async (transaction) => {
      await this.store.insert(
        {
          id,
          command_type: request.commandType,
          command_params: params,
          requested_by: request.requestedBy,
          source: 'api',
          options: JSON.stringify(read.options),
          state: (read.startAtMs > nowMs ? 'SCHEDULED' : 'REQUESTED') satisfies TaskState,
          round: 1,
          device_count: devices.length,
          created_at_ms: nowMs,
          start_at_ms: read.startAtMs,
          expires_at_ms: read.expiresAtMs,
          updated_at_ms: nowMs,
        },
        devices,
        transaction,
      )
      await this.options.outbox.append([requestRecord(id, value, read.startAtMs)], transaction)
      return await this.stored(id, transaction, also)
    })
    this.options.outbox.nudge()
    return task
  }

  /** What `create` would do, without doing it: the sites of the devices. @throws as create. */
  async check(request: NewTask, access = EVERYWHERE): Promise<number[]> {
    const read = readOptions(request.options ?? {}, this.options.clock.wallMs(), this.options.settings)
    const devices = await this.chosen(request, read, access)
    return [...new Set(devices.flatMap(({ siteId }) => siteId ?? []))].sort((a, b) => a - b)
  }

  /** What is wrong with the members that are given; for a caller that has found others wrong and wants to tell all at once. */
  commandProblems(
    request: Partial<Pick<NewTask, 'commandType' | 'commandParams' | 'options'>>,
    read: ReadOptions = readOptions(request.options ?? {}, this.options.clock.wallMs(), this.options.settings),
  ): TaskProblem[] {
    const { commandType, commandParams } = request
    const { settings } = this.options
    return [
      ...(commandType === undefined ? [] : checkCommand(commandType, commandParams, settings, COMMAND_PLACES)),
      ...read.faults.map((fault) => ({ ...fault, pointer: `/options${fault.pointer}` })),
    ]
  }

  /** What decides who may see it; null when there is none. */
  async sight(id: string): Promise<TaskSight | null> {
    return (await this.store.sights([id], this.options.database.kysely)).get(id) ?? null
  }

  /** Null when there is none, or none any more. */
  get(id: string): Promise<TaskView | null> {
    return this.store.get(id)
  }

  /** The newest first; a walk through the pages meets each task once, whatever comes meanwhile. */
  list(request: PageRequest & TaskFilter = {}): Promise<Page<TaskView>> {
    return this.store.list(request)
  }

  /** The devices of a task in the order of the request; null when there is no such task. */
  async devices(
    id: string,
    request: PageRequest & { readonly state?: CommandState | undefined } = {},
  ): Promise<Page<TaskDeviceView> | null> {
    const page = await this.store.devices(id, request)
    return page.items.length > 0 || (await this.store.get(id)) !== null ? page : null
  }

  /**
   * Tasks whose latest change was stored at `sinceMs` or later, ascending by that time and id, `limit` at most; with
   * `afterId` those of `sinceMs` itself begin after it. A transaction may become visible some moments after the time it
   * stored, so who polls should look again at the last seconds.
   */
  changedSince(sinceMs: number, limit: number, afterId = ''): Promise<TaskView[]> {
    return this.store.changedSince(sinceMs, limit, afterId)
  }

  /**
   * No further device gets its command, and what is on the way is taken back where that is still possible. Null when there is
   * no such task.
   * @throws TaskConflictError; BusbarError DATABASE_UNAVAILABLE
   */
  async cancel(id: string, reason: string | null, also?: WithTask): Promise<TaskView | null> {
    const { clock, outbox, database } = this.options
    const task = await database.transaction(async (transaction) => {
      const row = await this.store.lock(id, transaction)
      if (row === undefined) return null
      const state = nextTaskState(row.state, 'cancel')
      if (state === null) throw cannotCancel(row)
      // Not published, it needs no expansion either; published, whoever reads it meets a task that is being cancelled.
      if (row.executed_round < row.round) await outbox.withdraw({ name: TASK_OWNER, id }, transaction)
      await this.store.update([id], { state, reason }, clock.wallMs(), transaction)
      return await this.stored(id, transaction, also)
    })
    if (task !== null) this.onChanged(id)
    return task
  }

  /**
   * Opens the task again for the devices that failed, with as much time as it had. Null when there is no such task.
   * @param access of whoever asks: a serial number that was no device's becomes one where they may command it.
   * @throws TaskConflictError; BusbarError DATABASE_UNAVAILABLE
   */
  async retry(id: string, also?: WithTask, { sees, acts } = EVERYWHERE): Promise<TaskView | null> {
    const { database, outbox, registry, clock } = this.options
    const { dialect } = database
    const missing = await unresolvedSerials(database.kysely, id)
    const found = await registry.selection.bySerialNumbers(missing, undefined, sees)
    const resolved = commandable(resolveSerialNumbers(missing, found, undefined), acts)
    const task = await database.transaction(async (transaction) => {
      const row = await this.store.lock(id, transaction)
      if (row === undefined) return null
      const state = nextTaskState(row.state, 'retry')
      if (state === null) throw cannotRetry(row)
      // After everything of the rounds before, by which this one is told from them.
      const startAtMs = Math.max(clock.wallMs(), (row.finished_at_ms ?? 0) + 1)
      const expiresAtMs = startAtMs + (row.expires_at_ms - row.start_at_ms)
      const devices = await reopenFailed(dialect, id, resolved, startAtMs, transaction)
      if (devices.length === 0) throw cannotRetry(row)
      await addTaskSites(dialect, id, resolved, transaction)
      const round = row.round + 1
      const reopened = { state, round, reason: null, finished_at_ms: null }
      const times = { start_at_ms: startAtMs, expires_at_ms: expiresAtMs }
      await this.store.update([id], { ...reopened, ...times }, startAtMs, transaction)
      const value = encodeRequest({
        commandType: row.command_type,
        commandParams: row.command_params,
        deviceIds: devices.map((device) => device.serialNumber),
        requestedBy: row.requested_by,
        options: optionsBody(optionsOf(row), startAtMs, expiresAtMs),
        round,
        siteId: commonSite(devices),
      })
      await outbox.append([requestRecord(id, value, startAtMs)], transaction)
      return await this.stored(id, transaction, also)
    })
    if (task !== null) outbox.nudge()
    return task
  }

  /** @throws TaskRefusedError, NotAllowedAtError */
  private async chosen(
    request: NewTask,
    read: ReadOptions,
    { sees, acts }: SiteAccess,
  ): Promise<readonly NewTaskDevice[]> {
    const { registry, settings } = this.options
    const choice = await chooseDevices(registry.selection, request, settings.devicesMax, sees)
    const beyond = sitesBeyond(
      acts,
      choice.devices.flatMap(({ siteId }) => siteId ?? []),
    )
    if (beyond.length > 0) throw new NotAllowedAtError(beyond)
    const problems = [...this.commandProblems(request, read), ...choice.problems]
    if (problems.length > 0) throw new TaskRefusedError(problems)
    return choice.devices
  }

  private async stored(id: string, transaction: Transaction<Database>, also?: WithTask): Promise<TaskView> {
    const task = (await this.store.get(id, transaction)) as TaskView
    await also?.(task, transaction)
    return task
  }
}

function requestRecord(id: string, value: string, availableAtMs: number): OutboxRecord {
  return { topic: TASK_REQUESTED, key: id, value, owner: { name: TASK_OWNER, id }, availableAtMs }
}

/** Of all of them, or null. */
function commonSite(devices: readonly Pick<NewTaskDevice, 'siteId'>[]): number | null {
  const siteId = devices[0]?.siteId ?? null
  return devices.every((device) => device.siteId === siteId) ? siteId : null
}

function refuseTooLarge(value: string): void {
  const bytes = Buffer.byteLength(value)
  if (bytes <= REQUEST_BYTES_MAX) return
  const remedy = `fewer devices or smaller parameters: together ${bytes} bytes, of which ${REQUEST_BYTES_MAX} fit in a record`
  throw new TaskRefusedError([{ pointer: '', remedy }])
}
