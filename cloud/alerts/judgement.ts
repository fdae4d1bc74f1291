/** What the readings of a batch come to, rule by rule and device by device; pure. */

import type { Notice } from '../notifications/notifications.ts'
import { closedNotice, openedNotice, type ToldAlert } from './alert-notices.ts'
import type { AlertFinding } from './alert-rows.ts'
import type { AlertRule } from './alert-rule.ts'
import { type AlertEffect, type AlertState, INITIAL_STATE, step, type Track } from './alert-state.ts'
import { isMet } from './condition.ts'

/** One rule at one device on one track, with what the batch has for it, in the order of arrival. */
export interface Case {
  readonly rule: AlertRule
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly track: Track
  readonly values: { readonly atMs: number; readonly value: number }[]
}

export interface Outcome {
  readonly state: AlertState
  /** Whether anything has to be stored. */
  readonly changed: boolean
  readonly findings: readonly AlertFinding[]
  readonly notices: readonly Notice[]
}

const NOTHING = { changed: false, findings: [], notices: [] } as const

/**
 * What `judge` comes to where nothing is wrong and nothing was, which is nearly always and has to be cheap; null elsewhere.
 */
export function judgeQuiet({ rule: { condition }, values }: Case, stored: AlertState | null): Outcome | null {
  if (stored !== null && stored.kind !== 'OK') return null
  let latestMs = (stored ?? INITIAL_STATE).atMs
  for (const { atMs, value } of values) {
    if (isMet(condition, value)) return null
    if (atMs > latestMs) latestMs = atMs
  }
  return { ...NOTHING, state: { kind: 'OK', atMs: latestMs } }
}

/** @param judgedAtMs what this process knows to be judged already, which may be later than what was worth storing. */
export function judge(judged: Case, stored: AlertState | null, judgedAtMs: number): Outcome {
  const { rule, deviceId, track } = judged
  const before = stored ?? INITIAL_STATE
  const subject = { ruleId: rule.id, ruleVersion: rule.version, deviceId, track, condition: rule.condition }
  const findings = new Map<string, AlertFinding>()
  const notices: Notice[] = []
  let state: AlertState = before.atMs < judgedAtMs ? { ...before, atMs: judgedAtMs } : before
  for (const value of judged.values) {
    const worstBefore = state.kind === 'OPEN' ? state.worst : null
    const next = step(state, value, subject)
    state = next.state
    const { effect } = next
    // Holding a live alert is worth storing when it is worse than before; a past one is longer by it.
    if (effect === null || (effect.kind === 'HELD' && track === 'live' && effect.worst === worstBefore)) continue
    findings.set(effect.alertId, findingOf(effect, judged, findings.get(effect.alertId)))
    if (track === 'live') notices.push(...noticesOf(effect, judged))
  }
  const changed = findings.size > 0 || state.kind !== before.kind || sinceOf(state) !== sinceOf(before)
  return { state, changed, findings: [...findings.values()], notices }
}

function findingOf(effect: AlertEffect, judged: Case, known: AlertFinding | undefined): AlertFinding {
  const { rule, deviceId, siteId, serialNumber } = judged
  const { alertId: id, atMs, value } = effect
  const past = judged.track === 'past'
  // A past alert is closed at what held it last, and longer with everything that comes.
  const end = past && effect.kind !== 'CLOSED' ? { closedAtMs: atMs, valueClosed: value } : {}
  const base: AlertFinding = known ?? {
    id,
    past,
    opened: null,
    valueWorst: value,
    closedAtMs: null,
    closeReason: null,
    valueClosed: null,
  }
  if (effect.kind === 'OPENED') {
    const { sinceMs } = effect
    return { ...base, ...end, opened: { rule, siteId, deviceId, serialNumber, sinceMs, openedAtMs: atMs, value } }
  }
  if (effect.kind === 'HELD') return { ...base, ...end, valueWorst: effect.worst }
  const closedAtMs = past ? base.closedAtMs : atMs
  return { ...base, valueWorst: effect.worst, closedAtMs, valueClosed: value, closeReason: 'RECOVERED' }
}

function noticesOf(effect: AlertEffect, { rule, siteId, serialNumber }: Case): Notice[] {
  if (effect.kind === 'HELD') return []
  const { alertId: id, sinceMs, atMs, value } = effect
  const valueWorst = effect.kind === 'CLOSED' ? effect.worst : value
  const told: ToldAlert = { id, siteId, serialNumber, sinceMs, openedAtMs: atMs, valueWorst, rule }
  return [effect.kind === 'OPENED' ? openedNotice(told, value) : closedNotice(told, value, atMs)]
}

function sinceOf(state: AlertState): number | null {
  return state.kind === 'OK' ? null : state.sinceMs
}
