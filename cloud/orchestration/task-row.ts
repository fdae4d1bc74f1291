/** A task and its devices as the database has them, and as everybody else sees them. */

import type { Selectable } from 'kysely'
import type { TaskDevicesTable, TasksTable } from '../database/schema.ts'
import { parsedText } from '../database/stored-text.ts'
import { COMMAND_STATES, type CommandState, isFinal } from '../gateways/gateways.ts'
import type { TaskOptions } from './task-options.ts'
import type { TaskState } from './task-state.ts'

export type TaskRow = Omit<Selectable<TasksTable>, 'state'> & { readonly state: TaskState }
export type TaskDeviceRow = Omit<Selectable<TaskDevicesTable>, 'state'> & { readonly state: CommandState }

/** States in which a device of a task has no result yet. */
export const OPEN_STATES = COMMAND_STATES.filter((state) => !isFinal(state))

/** How many devices are in each state; together they are all of them. */
export type Tally = Readonly<Record<CommandState, number>>

/** What decides who may see a task. */
export type TaskSight = Pick<TaskView, 'siteIds' | 'requestedBy'>

export interface TaskView {
  /** 24 hexadecimal digits. */
  readonly taskId: string
  readonly commandType: string
  /** Any JSON; null for none. */
  readonly commandParams: unknown
  readonly requestedBy: string
  /** 'topic' when somebody else produced its task.requested. */
  readonly source: 'api' | 'topic'
  readonly state: TaskState
  /** Why it was cancelled or aborted, for people. */
  readonly reason: string | null
  /** 1, and one more with each retry of what failed. */
  readonly round: number
  readonly deviceCount: number
  /** Of its devices, ascending; none when none of them is known. */
  readonly siteIds: readonly number[]
  readonly tally: Tally
  readonly options: TaskOptions
  /** Times are Unix milliseconds; start and expiry are those of the round. */
  readonly createdAtMs: number
  readonly startAtMs: number
  readonly expiresAtMs: number
  readonly startedAtMs: number | null
  readonly finishedAtMs: number | null
  readonly updatedAtMs: number
}

export interface TaskDeviceView {
  /** Place in the request, from 0. */
  readonly position: number
  readonly serialNumber: string
  /** Null for a device that is not registered. */
  readonly siteId: number | null
  readonly state: CommandState
  /** Commands issued for it in this round. */
  readonly attempt: number
  /** Of the last attempt; null before the first and between two. */
  readonly commandId: string | null
  /** While it waits: when its next attempt may begin. */
  readonly readyAtMs: number | null
  readonly reason: string | null
  /** What the device sent with its answer, any JSON; null for nothing. */
  readonly response: unknown
  readonly finishedAtMs: number | null
  /** What came after the end, which it does not change. */
  readonly late: { readonly state: CommandState; readonly response: unknown; readonly atMs: number } | null
  readonly updatedAtMs: number
}

export function toTaskView(row: TaskRow, tally: Tally, siteIds: readonly number[]): TaskView {
  return {
    taskId: row.id,
    commandType: row.command_type,
    commandParams: JSON.parse(row.command_params),
    requestedBy: row.requested_by,
    source: row.source as TaskView['source'],
    state: row.state,
    reason: row.reason,
    round: row.round,
    deviceCount: row.device_count,
    siteIds,
    tally,
    options: optionsOf(row),
    createdAtMs: row.created_at_ms,
    startAtMs: row.start_at_ms,
    expiresAtMs: row.expires_at_ms,
    startedAtMs: row.started_at_ms,
    finishedAtMs: row.finished_at_ms,
    updatedAtMs: row.updated_at_ms,
  }
}

export function toTaskDeviceView(row: TaskDeviceRow): TaskDeviceView {
  const waiting = row.state === 'QUEUED' && row.command_id === null && row.finished_at_ms === null
  return {
    position: row.position,
    serialNumber: row.serial_number,
    siteId: row.site_id,
    state: row.state,
    attempt: row.attempt,
    commandId: row.command_id,
    readyAtMs: waiting ? row.ready_at_ms : null,
    reason: row.reason,
    response: parsedText(row.response),
    finishedAtMs: row.finished_at_ms,
    late:
      row.late_state === null || row.late_at_ms === null
        ? null
        : { state: row.late_state as CommandState, response: parsedText(row.late_response), atMs: row.late_at_ms },
    updatedAtMs: row.updated_at_ms,
  }
}

export function optionsOf(row: Pick<TaskRow, 'options'>): TaskOptions {
  return JSON.parse(row.options) as TaskOptions
}
