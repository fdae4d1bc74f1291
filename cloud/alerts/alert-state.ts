/**
 * How a rule stands at one device, and the one function that takes it from reading to reading. Time is event time alone, so the
 * same readings come to the same alerts whenever, and in whatever portions, they arrive.
 */

import { createHash } from 'node:crypto'
import { type Condition, isBack, isMet, isWorse } from './condition.ts'

/** `past` is for what was backfilled: judged beside what is live, and told to nobody. */
export type Track = 'live' | 'past'

/** `atMs` is the event time of the reading that was judged last; older ones, and that one again, are ignored. */
export type AlertState =
  | { readonly kind: 'OK'; readonly atMs: number }
  /** The condition has been met since, not for long enough yet. */
  | { readonly kind: 'PENDING'; readonly atMs: number; readonly sinceMs: number }
  | {
      readonly kind: 'OPEN'
      readonly atMs: number
      readonly sinceMs: number
      readonly alertId: string
      readonly worst: number
    }

export type AlertEffect =
  | {
      readonly kind: 'OPENED'
      readonly alertId: string
      readonly sinceMs: number
      readonly atMs: number
      readonly value: number
    }
  /** A reading held it; `worst` is its value or one before. */
  | {
      readonly kind: 'HELD'
      readonly alertId: string
      readonly atMs: number
      readonly value: number
      readonly worst: number
    }
  | {
      readonly kind: 'CLOSED'
      readonly alertId: string
      readonly sinceMs: number
      readonly atMs: number
      readonly value: number
      readonly worst: number
    }

/** One rule at one device on one track. */
export interface Judged {
  readonly ruleId: string
  readonly ruleVersion: number
  readonly deviceId: number
  readonly track: Track
  readonly condition: Condition
}

export interface AlertStep {
  readonly state: AlertState
  readonly effect: AlertEffect | null
}

/** Of a rule that has seen nothing of the device yet. */
export const INITIAL_STATE: AlertState = { kind: 'OK', atMs: Number.NEGATIVE_INFINITY }

export function step(
  state: AlertState,
  reading: { readonly atMs: number; readonly value: number },
  judged: Judged,
): AlertStep {
  const { atMs, value } = reading
  if (atMs <= state.atMs) return { state, effect: null }
  const { condition } = judged
  if (state.kind === 'OPEN') return stepOpen(state, atMs, value, condition)
  if (!isMet(condition, value)) return { state: { kind: 'OK', atMs }, effect: null }
  const sinceMs = state.kind === 'PENDING' ? state.sinceMs : atMs
  if (atMs - sinceMs < condition.durationSeconds * 1_000) {
    return { state: { kind: 'PENDING', atMs, sinceMs }, effect: null }
  }
  const alertId = alertIdOf(judged, sinceMs)
  return {
    state: { kind: 'OPEN', atMs, sinceMs, alertId, worst: value },
    effect: { kind: 'OPENED', alertId, sinceMs, atMs, value },
  }
}

function stepOpen(state: AlertState & { kind: 'OPEN' }, atMs: number, value: number, condition: Condition): AlertStep {
  const { alertId, sinceMs } = state
  if (isBack(condition, value)) {
    return {
      state: { kind: 'OK', atMs },
      effect: { kind: 'CLOSED', alertId, sinceMs, atMs, value, worst: state.worst },
    }
  }
  const worst = isWorse(condition, value, state.worst) ? value : state.worst
  return { state: { ...state, atMs, worst }, effect: { kind: 'HELD', alertId, atMs, value, worst } }
}

/** The same readings give the same id, so that what is done twice is done once. */
function alertIdOf({ ruleId, ruleVersion, deviceId, track }: Judged, sinceMs: number): string {
  const name = [ruleId, ruleVersion, deviceId, track, sinceMs].join('\0')
  return `alert-${createHash('sha256').update(name).digest('hex').slice(0, 24)}`
}
