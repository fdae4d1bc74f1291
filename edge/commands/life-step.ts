/** A step in the life of a command: what happened, and what is to be done about it. */

import type { CommandFactState } from '../../shared/command-fact.ts'
import type { CommandLife, Handshake, Outcome } from './life-state.ts'

export type LifeInput =
  /** The device's route is open and it is this command's turn. `packetId` is free for use. */
  | {
      readonly kind: 'opened'
      readonly session: string
      readonly durable: boolean
      readonly qos: 0 | 1 | 2
      readonly packetId: number
    }
  | { readonly kind: 'closed' }
  /** The last `store` is on disk. `payload` is what goes to the device: null when there is nothing it could read. */
  | { readonly kind: 'stored'; readonly payload?: Uint8Array | null }
  /** The connection was gone when the PUBLISH was to be written. */
  | { readonly kind: 'unwritten' }
  | { readonly kind: 'received'; readonly session: string; readonly packetId: number }
  | { readonly kind: 'completed'; readonly session: string; readonly packetId: number }
  | { readonly kind: 'answered' }
  | { readonly kind: 'cancel'; readonly reason?: string }
  | { readonly kind: 'tick' }
  /** The fact of the end was handed to the spool: no answer can overtake it any more. */
  | { readonly kind: 'told' }

export interface LifeFact {
  readonly state: CommandFactState
  readonly reason?: string
}

export type LifeEffect =
  /** Put the new state on disk, with the fact if there is one; `stored` follows, with the payload if it is to go out. */
  | { readonly kind: 'store'; readonly fact?: LifeFact }
  | { readonly kind: 'publish'; readonly packetId: number; readonly payload: Uint8Array; readonly dup: boolean }
  | { readonly kind: 'release'; readonly packetId: number }

export interface Step {
  readonly life: CommandLife
  readonly effects: readonly LifeEffect[]
}

export const NOTHING: readonly LifeEffect[] = []
export const STORE: readonly LifeEffect[] = [{ kind: 'store' }]

/** @param loose see `CommandLife`. @param reason for people; absent when the outcome says it all. */
export function end(outcome: Outcome, loose: Handshake | null = null, reason?: string): Step {
  const life: CommandLife = { phase: 'ending', outcome, loose }
  if (outcome === 'ANSWERED') return { life, effects: STORE }
  return { life, effects: [{ kind: 'store', fact: { state: outcome, ...(reason === undefined ? {} : { reason }) } }] }
}

export function unchanged(life: CommandLife): Step {
  return { life, effects: NOTHING }
}
