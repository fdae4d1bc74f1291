/** What becomes of a command by each thing that can happen to it. Pure: a row and the time in, the row after it out. */

import { storableReason } from '../database/stored-text.ts'
import { assertMoves, type CommandState, effectOf, isFinal, reportedState } from './command-state.ts'
import type { CommandChange, CommandReport } from './device-command.ts'
import type { CommandRow } from './device-command-rows.ts'

export interface CommandStep {
  readonly row: CommandRow
  /** What the owner is told, in order; empty when it is nothing to it. */
  readonly changes: readonly CommandChange[]
}

/** Not with any gateway: it waits, or was refused. */
export function waits(row: CommandRow): boolean {
  return row.state === 'QUEUED' || (row.state === 'SENT' && row.session_id === null)
}

/** It is not wanted any more. */
export function cancelled(row: CommandRow, nowMs: number): CommandStep | null {
  if (waits(row)) return ended(row, 'CANCELLED', nowMs, null)
  if (row.state !== 'SENT' || row.cancel_requested_at_ms !== null) return null
  return silent({ ...row, cancel_requested_at_ms: nowMs })
}

/** It is handed to a session of its gateway. */
export function handedOver(
  row: CommandRow,
  session: { readonly gatewayId: string; readonly sessionId: string },
  graceMs: number,
  nowMs: number,
): CommandStep | null {
  if (row.stored_at_ms !== null || row.gateway_id !== session.gatewayId) return null
  if (row.state !== 'QUEUED' && row.state !== 'SENT') return null
  const after: CommandRow = {
    ...row,
    state: 'SENT',
    session_id: session.sessionId,
    sent_at_ms: nowMs,
    deadline_at_ms: row.expires_at_ms + row.timeout_ms + graceMs,
  }
  if (row.state === 'SENT') return silent(after)
  return { row: after, changes: [changeOf(row, 'SENT', nowMs)] }
}

/** The gateway says that it has it on its disk. */
export function stored(row: CommandRow, gatewayId: string, nowMs: number): CommandStep | null {
  if (row.finished_at_ms !== null || row.stored_at_ms !== null || row.gateway_id !== gatewayId) return null
  return silent({ ...row, stored_at_ms: nowMs })
}

/** The gateway says that it did not take it, so no gateway has it. */
export function refused(row: CommandRow, sessionId: string, nowMs: number): CommandStep | null {
  if (row.state !== 'SENT' || row.stored_at_ms !== null || row.session_id !== sessionId) return null
  if (row.cancel_requested_at_ms !== null) return ended(row, 'CANCELLED', nowMs, null)
  return silent({ ...row, session_id: null, sent_at_ms: nowMs, deadline_at_ms: row.expires_at_ms })
}

/** Its gateway's session is told that it is not wanted any more. */
export function askedBack(row: CommandRow, sessionId: string, nowMs: number): CommandStep | null {
  if (row.state !== 'SENT' || row.cancel_requested_at_ms === null) return null
  return silent({ ...row, cancel_session_id: sessionId, cancel_sent_at_ms: nowMs })
}

/**
 * Its device is behind another gateway now, or behind none that is known. What was handed over stays with the gateway that got it: were it there after
 * all, another one would hand it to the device a second time.
 */
export function rerouted(row: CommandRow, gatewayId: string | null): CommandStep | null {
  return row.state === 'QUEUED' && row.gateway_id !== gatewayId ? silent({ ...row, gateway_id: gatewayId }) : null
}

/** Its deadline has come. */
export function overdue(row: CommandRow, nowMs: number): CommandStep | null {
  if (row.finished_at_ms !== null || row.deadline_at_ms > nowMs) return null
  if (waits(row)) return ended(row, 'EXPIRED', nowMs, expiryReason(row))
  return ended(row, 'TIMED_OUT', nowMs, silenceReason(row))
}

/** What the gateway's records say of it, in their order. */
export function reported(row: CommandRow, reports: readonly CommandReport[], nowMs: number): CommandStep | null {
  let after = row
  const changes: CommandChange[] = []
  for (const report of reports) {
    const to = reportedState(report.state, row.cancel_requested_at_ms !== null)
    const effect = effectOf(after.state, to)
    const late = effect === 'late'
    if (effect === 'unchanged' || (late && after.late_at_ms !== null)) continue
    const { payload } = report
    const atMs = Math.round(report.receivedAtMs)
    changes.push({ ...changeOf(after, to, atMs), late, payload, reason: storableReason(report.reason) })
    after = late ? { ...after, late_at_ms: nowMs } : arrivedAt(after, to, atMs, nowMs)
  }
  return changes.length === 0 ? null : { row: after, changes }
}

function arrivedAt(row: CommandRow, to: CommandState, atMs: number, nowMs: number): CommandRow {
  // A gateway that tells of it has it, whether its receipt came or not.
  const storedAtMs = row.stored_at_ms ?? nowMs
  if (isFinal(to)) return { ...row, state: to, stored_at_ms: storedAtMs, finished_at_ms: nowMs }
  const deadlineAtMs = Math.max(row.deadline_at_ms, row.expires_at_ms + row.timeout_ms)
  return { ...row, state: to, stored_at_ms: storedAtMs, delivered_at_ms: atMs, deadline_at_ms: deadlineAtMs }
}

function ended(row: CommandRow, to: CommandState, nowMs: number, reason: string | null): CommandStep {
  assertMoves(row.state, to)
  return { row: { ...row, state: to, finished_at_ms: nowMs }, changes: [{ ...changeOf(row, to, nowMs), reason }] }
}

function silent(row: CommandRow): CommandStep {
  return { row, changes: [] }
}

function changeOf(row: CommandRow, to: CommandState, atMs: number): CommandChange {
  return {
    commandId: row.command_id,
    taskId: row.task_id,
    deviceId: row.device_id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    from: row.state,
    to,
    late: false,
    atMs,
    payload: null,
    reason: null,
  }
}

function expiryReason(row: CommandRow): string {
  if (row.state === 'SENT') return `gateway ${row.gateway_id} did not take it before it expired`
  if (row.gateway_id === null) return 'no gateway is known to have the device, so nobody could be given it'
  return `gateway ${row.gateway_id} was not connected, or had too many commands before it, until it expired`
}

function silenceReason(row: CommandRow): string {
  if (row.state === 'DELIVERED') return 'the device has it and did not answer, and its gateway told nothing more'
  if (row.stored_at_ms !== null) return `gateway ${row.gateway_id} has it and told nothing of it in time`
  return `gateway ${row.gateway_id} was sent it and never said that it has it`
}
