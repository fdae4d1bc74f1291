/**
 * One turn of a task: in one transaction, under the lock of its row, look at its devices, ask the plan, and do what it says for
 * 500 devices at most. Whoever is not the task's runner any more does nothing.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { DeviceCommands, FinalState } from '../gateways/gateways.ts'
import { responseRecord } from './task-outcomes.ts'
import { planTask, type TaskPlan } from './task-plan.ts'
import type { RateBucket } from './task-rate.ts'
import { optionsOf, type TaskRow } from './task-row.ts'
import { isRunnable, nextTaskState, type TaskState } from './task-state.ts'
import type { TaskStore } from './task-store.ts'
import {
  countDevices,
  DEVICES_PER_TURN,
  devicesToEnd,
  markEnded,
  markIssued,
  readyDevices,
  recallable,
  type WaitingDevice,
} from './turn-rows.ts'

export interface TurnTools {
  readonly database: DatabaseHandle
  readonly store: TaskStore
  readonly outbox: Pick<Outbox, 'append'>
  readonly commands: Pick<DeviceCommands, 'issue' | 'cancel'>
  readonly coreId: string
  readonly clock: Clock
  readonly random: Random
}

/** What one turn leaves for the next one of the same runner. */
export interface TurnMemory {
  readonly bucket: RateBucket | null
  /** Commands of devices up to this position were asked back. */
  readonly recalledThrough: number
}

export const NO_MEMORY: TurnMemory = { bucket: null, recalledThrough: -1 }

export interface TurnResult {
  /** False: the task is not this runner's any more, or it has ended. */
  readonly ours: boolean
  readonly memory: TurnMemory
  /** More is to be done at once. */
  readonly more: boolean
  /** When to look again if nothing changes, milliseconds; null when only a change matters. */
  readonly againMs: number | null
  readonly updatedAtMs: number
  readonly did: { readonly issued: number; readonly ended: number; readonly recalled: number }
}

/** @throws BusbarError DATABASE_UNAVAILABLE; then nothing was done. */
export function takeTurn(tools: TurnTools, taskId: string, memory: TurnMemory): Promise<TurnResult> {
  return tools.database.transaction((transaction) => new Turn(tools, transaction, memory).take(taskId))
}

class Turn {
  private readonly tools: TurnTools
  private readonly transaction: Transaction<Database>
  private readonly memory: TurnMemory
  private readonly nowMs: number

  constructor(tools: TurnTools, transaction: Transaction<Database>, memory: TurnMemory) {
    this.tools = tools
    this.transaction = transaction
    this.memory = memory
    this.nowMs = tools.clock.wallMs()
  }

  async take(taskId: string): Promise<TurnResult> {
    const { store, coreId, clock } = this.tools
    const task = await store.lock(taskId, this.transaction)
    const { nowMs } = this
    if (task === undefined || task.runner !== coreId || !isRunnable(task.state)) return this.none(task)
    const counts = await countDevices(task.id, task.start_at_ms, nowMs, this.transaction)
    const plan = planTask({
      ...counts,
      // What one turn cannot issue must not spend the rate's tokens.
      ready: Math.min(counts.ready, DEVICES_PER_TURN),
      nowMs,
      monotonicMs: clock.monotonicMs(),
      state: task.state,
      options: optionsOf(task),
      expiresAtMs: task.expires_at_ms,
      bucket: this.memory.bucket,
    })
    if (plan.event === 'ended') {
      await store.endFinished([task], nowMs, this.transaction)
      return this.none(task)
    }
    const state = plan.event === null ? task.state : await this.abort(task, plan)
    const issued = await this.issue(task, plan.issue)
    const unreachable = counts.unreachable > 0 ? await this.endUnreachable(task) : 0
    const ended = plan.endWaiting === null ? 0 : await this.endWaiting(task, plan.endWaiting, state)
    const recalled = plan.cancelInFlight ? await this.recall(task) : []
    if (issued + unreachable + ended > 0) await store.update([task.id], {}, nowMs, this.transaction)
    const updatedAtMs = (await store.lock(task.id, this.transaction))?.updated_at_ms ?? 0
    const full = [issued, unreachable, ended, recalled.length].some((devices) => devices === DEVICES_PER_TURN)
    return {
      ours: true,
      memory: { bucket: plan.bucket, recalledThrough: recalled.at(-1)?.position ?? this.memory.recalledThrough },
      more: full,
      againMs: plan.againMs,
      updatedAtMs,
      did: { issued, ended: ended + unreachable, recalled: recalled.length },
    }
  }

  private none(task: TaskRow | undefined): TurnResult {
    const did = { issued: 0, ended: 0, recalled: 0 }
    return { ours: false, memory: NO_MEMORY, more: false, againMs: null, updatedAtMs: task?.updated_at_ms ?? 0, did }
  }

  private async abort(task: TaskRow, plan: TaskPlan): Promise<TaskState> {
    const state = nextTaskState(task.state, 'abort') as TaskState
    await this.tools.store.update([task.id], { state, reason: plan.reason }, this.nowMs, this.transaction)
    return state
  }

  private async issue(task: TaskRow, devices: number): Promise<number> {
    if (devices === 0) return 0
    const { database, commands, random } = this.tools
    const limit = Math.min(devices, DEVICES_PER_TURN)
    const ready = await readyDevices(task.id, this.nowMs, limit, this.transaction)
    const issued = ready.map((device) => ({ device, commandId: randomHex(random, 12) }))
    await markIssued(
      database.dialect,
      task.id,
      issued.map(({ device, commandId }) => ({ position: device.position, command_id: commandId })),
      this.nowMs,
      this.transaction,
    )
    const { timeout_ms: timeoutMs } = optionsOf(task)
    await commands.issue(
      issued.map(({ device, commandId }) => ({
        commandId,
        owner: 'task',
        taskId: task.id,
        deviceId: device.device_id as number,
        siteId: device.site_id as number,
        serialNumber: device.serial_number,
        name: task.command_type,
        params: task.command_params,
        issuedAtMs: this.nowMs,
        expiresAtMs: task.expires_at_ms,
        timeoutMs,
      })),
      this.transaction,
    )
    return issued.length
  }

  private async endUnreachable(task: TaskRow): Promise<number> {
    const devices = await devicesToEnd(task.id, true, this.transaction)
    return await this.end(task, devices, 'REJECTED', 'no such device is registered')
  }

  private async endWaiting(task: TaskRow, outcome: 'EXPIRED' | 'CANCELLED', state: TaskState): Promise<number> {
    const devices = await devicesToEnd(task.id, false, this.transaction)
    const because = state === 'ABORTING' ? 'the task was aborted' : 'the task was cancelled'
    const reason = outcome === 'EXPIRED' ? 'the task expired' : because
    return await this.end(task, devices, outcome, reason)
  }

  /** Without a command: the response has an id of its own. */
  private async end(
    task: TaskRow,
    devices: readonly WaitingDevice[],
    outcome: FinalState,
    reason: string,
  ): Promise<number> {
    if (devices.length === 0) return 0
    const { database, outbox, random } = this.tools
    const ended = devices.map((device) => {
      // After a failed attempt that is what says most; so it stays beside why there is no other.
      const said =
        device.reason === null ? reason : outcome === 'REJECTED' ? device.reason : `${reason}; ${device.reason}`
      return { device, position: device.position, command_id: randomHex(random, 12), reason: said }
    })
    const rows = ended.map(({ position, command_id, reason: said }) => ({ position, command_id, reason: said }))
    await markEnded(database.dialect, task.id, outcome, rows, this.nowMs, this.transaction)
    const records = ended.map(({ device, command_id: commandId, reason: said }) =>
      responseRecord({
        taskId: task.id,
        commandId,
        serialNumber: device.serial_number,
        outcome,
        atMs: this.nowMs,
        payload: null,
        reason: said,
        attempt: device.attempt,
      }),
    )
    await outbox.append(records, this.transaction)
    return devices.length
  }

  private async recall(task: TaskRow): Promise<{ readonly position: number }[]> {
    const rows = await recallable(task.id, this.memory.recalledThrough, this.transaction)
    if (rows.length === 0) return []
    await this.tools.commands.cancel(
      rows.map((row) => row.command_id),
      this.transaction,
    )
    return rows
  }
}
