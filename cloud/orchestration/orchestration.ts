/**
 * Tasks over many devices. Two services share this folder and its tables, and talk over the bus only: the command orchestrator
 * produces task.requested and tallies orchestrator.responses; task orchestration expands, runs and answers. Either can be
 * somebody else's program.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus } from '../bus/bus.ts'
import {
  COMMAND_ORCHESTRATOR_GROUP,
  ORCHESTRATOR_RESPONSES,
  TASK_ORCHESTRATION_GROUP,
  TASK_REQUESTED,
} from '../bus/catalogue.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { Parking } from '../bus/parking.ts'
import { RecordConsumer, type RecordConsumerStats } from '../bus/record-consumer.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { DeviceCommands } from '../gateways/gateways.ts'
import type { Registry } from '../registry/registry.ts'
import { ResponseTally } from './response-tally.ts'
import { type ForeignListener, TaskExpansion } from './task-expansion.ts'
import { readRequest, readResponse, type TaskRequest, type TaskResponse } from './task-messages.ts'
import { outcomeListener } from './task-outcomes.ts'
import { purgeTasks } from './task-purge.ts'
import { type RunnerStats, TaskRunner } from './task-runner.ts'
import { TASK_OWNER, type TaskSettings, type Tasks } from './tasks.ts'

export type { TaskProblem } from './task-devices.ts'
export { TaskConflictError, TaskRefusedError } from './task-errors.ts'
export { TASK_ID } from './task-messages.ts'
export { optionsBody, TaskOptionsSchema } from './task-options.ts'
export type { TaskDeviceView, TaskView } from './task-row.ts'
export { TASK_STATES } from './task-state.ts'
export { type NewTask, type TaskSettings, Tasks, type TasksOptions, type WithTask } from './tasks.ts'

export interface TaskOrchestrationOptions {
  readonly tasks: Tasks
  readonly database: DatabaseHandle
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly outbox: Outbox
  readonly parking: Parking
  readonly deviceCommands: DeviceCommands
  readonly registry: Pick<Registry, 'selection'>
  readonly settings: TaskSettings
  /** Others than the API asked for these; called in the transaction that stores them. */
  readonly onForeign?: ForeignListener
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  /** How often tasks of other cores, and changes by them, are looked for, milliseconds. Default 500. */
  readonly pollMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface OrchestrationStats extends RunnerStats {
  /** Tasks that others asked for on task.requested. */
  readonly foreignTasks: number
  /** Devices that got their final state; responses that came again; responses for tasks that are not ours. */
  readonly tallied: number
  readonly repeatedResponses: number
  readonly foreignResponses: number
  /** Of task.requested and of orchestrator.responses. */
  readonly requests: RecordConsumerStats
  readonly responses: RecordConsumerStats
}

const PURGE_PERIOD_MS = 60 * 60 * 1000

export class TaskOrchestration implements Part {
  readonly name = 'task orchestration'
  private readonly options: TaskOrchestrationOptions
  private readonly runner: TaskRunner
  private readonly expansion: TaskExpansion
  private readonly tally: ResponseTally
  private readonly requests: RecordConsumer<TaskRequest>
  private readonly responses: RecordConsumer<TaskResponse>
  private purgeTimer: Timer | null = null
  private purging: Promise<void> | null = null
  private readonly stopping = new AbortController()

  constructor(options: TaskOrchestrationOptions) {
    const { tasks, database, outbox, deviceCommands, registry, settings, coreId, pollMs = 500 } = options
    const tools = { clock: options.clock, random: options.random, log: options.log }
    const { store } = tasks
    this.options = options
    this.runner = new TaskRunner({
      database,
      store,
      outbox,
      commands: deviceCommands,
      coreId,
      leaseMs: settings.leaseMs,
      pollMs,
      ...tools,
    })
    const onExpanded = (ids: readonly string[]) => this.runner.nudge(ids)
    this.expansion = new TaskExpansion({
      database,
      store,
      registry,
      settings,
      onForeign: options.onForeign,
      onExpanded,
      ...tools,
    })
    this.tally = new ResponseTally({ database, store, onTallied: onExpanded, ...tools })
    this.requests = this.createRequests()
    this.responses = this.createResponses()
    const onMoved = (ids: readonly string[]) => this.runner.noteMoved(ids)
    deviceCommands.onChanged(TASK_OWNER, outcomeListener({ database, outbox, onMoved, ...tools }))
    outbox.onPublished(TASK_OWNER, (ids, sentAtMs, transaction) => store.markPublished(ids, sentAtMs, transaction))
    tasks.listen((id) => this.runner.nudge([id]))
  }

  async start(): Promise<void> {
    if (this.stopping.signal.aborted) return
    this.runner.start()
    await Promise.all([this.requests.start(), this.responses.start()])
    this.purgeTimer ??= this.options.clock.every(PURGE_PERIOD_MS, () => this.beginPurge())
    this.beginPurge()
  }

  /** Finishes what is in hand; its tasks go to other cores at once. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.purgeTimer?.cancel()
    await Promise.all([this.requests.stop(), this.responses.stop()])
    await this.runner.stop()
    await this.purging
  }

  stats(): OrchestrationStats {
    const { tallied, repeated, foreign } = this.tally.counts
    return {
      ...this.runner.stats(),
      foreignTasks: this.expansion.foreignTasks,
      tallied,
      repeatedResponses: repeated,
      foreignResponses: foreign,
      requests: this.requests.stats(),
      responses: this.responses.stats(),
    }
  }

  private createRequests(): RecordConsumer<TaskRequest> {
    const { bus, parking, clock, random, log } = this.options
    return new RecordConsumer<TaskRequest>({
      name: 'task requests',
      bus,
      group: TASK_ORCHESTRATION_GROUP,
      topics: [TASK_REQUESTED],
      decode: (record) => readRequest(record.key, record.value),
      handle: (items) => this.expansion.handle(items),
      parking,
      clock,
      random,
      log,
    })
  }

  private createResponses(): RecordConsumer<TaskResponse> {
    const { bus, parking, clock, random, log } = this.options
    return new RecordConsumer<TaskResponse>({
      name: 'task responses',
      bus,
      group: COMMAND_ORCHESTRATOR_GROUP,
      topics: [ORCHESTRATOR_RESPONSES],
      decode: (record) => readResponse(record.value),
      handle: (items) => this.tally.handle(items),
      parking,
      clock,
      random,
      log,
    })
  }

  private beginPurge(): void {
    this.purging ??= this.purge().finally(() => {
      this.purging = null
    })
  }

  /** Never rejects: what it leaves behind the next one removes. */
  private async purge(): Promise<void> {
    const { database, clock, settings, log } = this.options
    try {
      await purgeTasks(database.kysely, clock.wallMs() - settings.keptDays * DAY_MS, this.stopping.signal)
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'old tasks could not be removed; tried again in an hour')
    }
  }
}
