/** The life of a command on its way to a device: one union, one table of what may follow what. Pure. */

import { assert } from '../../shared/errors.ts'

/**
 * QUEUED waits for its gateway, SENT is on its way to the gateway or waits there for the device, DELIVERED is with the
 * device (PUBCOMP); the others are final.
 */
export const COMMAND_STATES = [
  'QUEUED',
  'SENT',
  'DELIVERED',
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'TIMED_OUT',
  'EXPIRED',
  'CANCELLED',
] as const
export type CommandState = (typeof COMMAND_STATES)[number]

export const FINAL_STATES = ['SUCCEEDED', 'FAILED', 'REJECTED', 'TIMED_OUT', 'EXPIRED', 'CANCELLED'] as const
export type FinalState = (typeof FINAL_STATES)[number]

/** What a device itself says. */
const ANSWERS: readonly CommandState[] = ['SUCCEEDED', 'FAILED', 'REJECTED']

/**
 * What may follow. A report may skip steps: a device may answer before the gateway told that it has the command, and one
 * may come for a command that is QUEUED when the database was restored from a backup. What the device has can neither
 * expire nor be taken back.
 */
const NEXT: Readonly<Record<CommandState, readonly CommandState[]>> = {
  QUEUED: ['SENT', 'DELIVERED', ...FINAL_STATES],
  SENT: ['DELIVERED', ...FINAL_STATES],
  DELIVERED: [...ANSWERS, 'TIMED_OUT'],
  SUCCEEDED: [],
  FAILED: [],
  REJECTED: [],
  TIMED_OUT: [],
  EXPIRED: [],
  CANCELLED: [],
}

/**
 * `moves`: the command is in that state now. `late`: news that came after the end, to be kept beside the outcome.
 * `unchanged`: it is known already, or says less than what is known.
 */
export type Effect = 'moves' | 'late' | 'unchanged'

export function isFinal(state: CommandState): state is FinalState {
  return (FINAL_STATES as readonly string[]).includes(state)
}

/** What a report of `to` does to a command that is `from`. */
export function effectOf(from: CommandState, to: CommandState): Effect {
  if (NEXT[from].includes(to)) return 'moves'
  if (!isFinal(from) || from === to) return 'unchanged'
  if (ANSWERS.includes(to)) return 'late'
  // We gave up waiting; that it never reached the device is more than we knew.
  return from === 'TIMED_OUT' && (to === 'EXPIRED' || to === 'CANCELLED') ? 'late' : 'unchanged'
}

/** For the steps that the cloud takes by itself. */
export function assertMoves(from: CommandState, to: CommandState): void {
  assert(effectOf(from, to) === 'moves', `a command that is ${from} does not become ${to}`)
}

/**
 * A report as the command's state has it. A command that was asked back before its gateway was known to have it is handed
 * over as expired, so that it never reaches the device: what became of it is that it was cancelled.
 */
export function reportedState(reported: CommandState, cancelRequested: boolean): CommandState {
  return reported === 'EXPIRED' && cancelRequested ? 'CANCELLED' : reported
}
