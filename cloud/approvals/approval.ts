/** A request that waits for a second person: its states, and who may do what with it. Pure. */

import { BusbarError } from '../../shared/errors.ts'

export const APPROVAL_KINDS = ['command', 'task', 'task-retry'] as const
/** What comes of it when it is approved. */
export type ApprovalKind = (typeof APPROVAL_KINDS)[number]

export const APPROVAL_STATES = ['PENDING', 'APPROVED', 'REJECTED', 'WITHDRAWN', 'EXPIRED'] as const
/** All but PENDING are final. */
export type ApprovalState = (typeof APPROVAL_STATES)[number]

export const APPROVAL_ID_PATTERN = /^apr-[0-9a-f]{16}$/

export interface Approval {
  readonly id: string
  readonly kind: ApprovalKind
  readonly commandType: string
  /** What is to be done: JSON of what the service takes that does it. */
  readonly request: unknown
  /** The sites of the devices; empty for a device that is not registered. */
  readonly siteIds: readonly number[]
  readonly requestedBy: string
  /** Times are Unix milliseconds. */
  readonly requestedAtMs: number
  readonly expiresAtMs: number
  readonly state: ApprovalState
  readonly decidedBy: string | null
  readonly decidedAtMs: number | null
  readonly note: string | null
  /** Of the command or task that came of it. */
  readonly resultId: string | null
}

/** The request cannot be decided in this way. */
export class ApprovalConflictError extends BusbarError {}

/** Devices may take a type however it is spelt, so remote-disconnect is REMOTE_DISCONNECT. */
export function needsSecondPerson(commandTypes: readonly string[], type: string): boolean {
  const letters = lettersOf(type)
  return commandTypes.some((each) => lettersOf(each) === letters)
}

function lettersOf(type: string): string {
  return type.toUpperCase().replaceAll(/[^A-Z0-9]/g, '')
}

/** The state at `nowMs`: nobody needs to write that time has run out for it to have. */
export function stateAt(approval: Pick<Approval, 'state' | 'expiresAtMs'>, nowMs: number): ApprovalState {
  return approval.state === 'PENDING' && approval.expiresAtMs <= nowMs ? 'EXPIRED' : approval.state
}

/** @throws ApprovalConflictError unless it still waits. */
export function requirePending(approval: Approval, nowMs: number): void {
  const state = stateAt(approval, nowMs)
  if (state === 'PENDING') return
  throw new ApprovalConflictError(`the request ${approval.id} is ${state} already`, {
    code: state === 'EXPIRED' ? 'APPROVAL_EXPIRED' : 'APPROVAL_DECIDED',
    hint: 'Ask again if it is still wanted.',
  })
}
