/** What a rule would have found in the readings of a device that are stored: for who looks for a threshold. Nothing is written. */

import { BusbarError } from '../../shared/errors.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { type InvalidField, InvalidRegistrationError } from '../registry/errors.ts'
import type { Registry } from '../registry/registry.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import type { AlertRules } from './alert-rules.ts'
import { type AlertState, INITIAL_STATE, step } from './alert-state.ts'
import { fieldValue } from './condition.ts'
import { changedTerms, invalidTerms, type NewAlertRule } from './new-alert-rule.ts'

/** A reading as it is stored. */
export interface StoredReading {
  readonly device_id: number
  readonly at_ms: number
  readonly seq: number
  /** JSON object. */
  readonly fields: string
}

/** Readings of the devices by time, those after `after`; at the end of the stretch there are fewer than `limit`. */
export type ReadingPages = (
  deviceIds: readonly number[],
  stretch: { readonly fromMs: number; readonly toMs: number },
  after: StoredReading | null,
  limit: number,
) => Promise<readonly StoredReading[]>

export interface RuleTrialsOptions {
  readonly rules: Pick<AlertRules, 'get'>
  readonly registry: { readonly devices: Pick<Registry['devices'], 'get'> }
  readonly readings: ReadingPages
  /** Readings that one trial looks at, the oldest first. Default 200,000. */
  readonly readingsMax?: number
}

export interface TrialQuestion {
  /** Needed where the rule is not about one device; need not be one that the rule is about. */
  readonly deviceId?: number | undefined
  readonly fromMs: number
  readonly toMs: number
  /** Tried instead of what the rule has; the rule stays as it is. */
  readonly changes?: Partial<NewAlertRule> | undefined
  /** Devices elsewhere do not exist for whoever asks. Default all. */
  readonly sees?: SiteScope
}

export interface TrialAlert {
  readonly sinceMs: number
  readonly openedAtMs: number
  /** Null when it is open at the end. */
  readonly closedAtMs: number | null
  readonly valueOpened: number
  readonly valueWorst: number
  readonly valueClosed: number | null
}

export interface TrialResult {
  readonly deviceId: number
  /** Readings that have the field. */
  readonly readings: number
  /** Until when readings were looked at: the end of the stretch, unless there are more than a trial may look at. */
  readonly judgedUntilMs: number
  readonly complete: boolean
  /** How many it would have found. */
  readonly found: number
  /** The first of them, `TRIAL_ALERTS_SHOWN_MAX` at most. */
  readonly alerts: readonly TrialAlert[]
}

export const TRIAL_ALERTS_SHOWN_MAX = 500
/** Trials at one time; another one is told to come again. */
const TRIALS_MAX = 2
/** Rows of one statement: about 5 ms. */
const PAGE_ROWS = 2_000
const READINGS_MAX = 200_000

export class RuleTrials {
  private readonly options: RuleTrialsOptions
  private running = 0

  constructor(options: RuleTrialsOptions) {
    this.options = options
  }

  /**
   * Null when there is no such rule.
   * @throws InvalidRegistrationError; BusbarError TRIALS_BUSY, DATABASE_UNAVAILABLE, both retryable
   */
  async run(ruleId: string, question: TrialQuestion): Promise<TrialResult | null> {
    const rule = await this.options.rules.get(ruleId)
    if (rule === null) return null
    const terms = changedTerms(rule, question.changes ?? {})
    const deviceId = question.deviceId ?? terms.scope.deviceId
    const invalid: InvalidField[] = invalidTerms(terms).map(({ field, ...rest }) => ({
      field: `changes/${field}`,
      ...rest,
    }))
    if (question.fromMs >= question.toMs) {
      invalid.push({ field: 'to', value: new Date(question.toMs).toISOString(), remedy: 'a time after from' })
    }
    const device = deviceId === null ? null : await this.options.registry.devices.get(deviceId)
    if (deviceId === null || device === null || !includesSite(question.sees ?? 'all', device.siteId)) {
      invalid.push({ field: 'deviceId', value: deviceId, remedy: 'a registered device' })
    }
    if (invalid.length > 0 || deviceId === null) throw new InvalidRegistrationError(invalid)
    if (this.running >= TRIALS_MAX) {
      const hint = `${TRIALS_MAX} run at one time; try again in a moment`
      throw new BusbarError('other rules are being tried', { code: 'TRIALS_BUSY', retryable: true, hint })
    }
    this.running++
    try {
      return await this.judge(
        { ruleId, ruleVersion: rule.version, deviceId, track: 'live', condition: terms.condition },
        question,
      )
    } finally {
      this.running--
    }
  }

  private async judge(judged: Parameters<typeof step>[2], stretch: TrialQuestion): Promise<TrialResult> {
    const { readings, readingsMax = READINGS_MAX } = this.options
    const { deviceId, condition } = judged
    const alerts: TrialAlert[] = []
    let [state, found, seen, withField]: [AlertState, number, number, number] = [INITIAL_STATE, 0, 0, 0]
    let last: StoredReading | null = null
    for (;;) {
      const limit = Math.min(PAGE_ROWS, readingsMax - seen)
      const page: readonly StoredReading[] = limit === 0 ? [] : await readings([deviceId], stretch, last, limit)
      for (const row of page) {
        const value = fieldValue(JSON.parse(row.fields) as Record<string, unknown>, condition.field)
        if (value === null) continue
        withField++
        const { state: after, effect } = step(state, { atMs: row.at_ms, value }, judged)
        state = after
        if (effect === null) continue
        if (effect.kind === 'OPENED') found++
        if (found <= TRIAL_ALERTS_SHOWN_MAX) note(alerts, effect)
      }
      seen += page.length
      last = page.at(-1) ?? last
      if (limit === 0 || page.length < limit) {
        const complete = limit > 0
        const judgedUntilMs = complete ? stretch.toMs : (last?.at_ms ?? stretch.fromMs)
        return { deviceId, readings: withField, judgedUntilMs, complete, found, alerts }
      }
      await nextTurn()
    }
  }
}

function note(alerts: TrialAlert[], effect: NonNullable<ReturnType<typeof step>['effect']>): void {
  const { atMs, value } = effect
  if (effect.kind === 'OPENED') {
    const { sinceMs } = effect
    alerts.push({
      sinceMs,
      openedAtMs: atMs,
      closedAtMs: null,
      valueOpened: value,
      valueWorst: value,
      valueClosed: null,
    })
    return
  }
  const open = alerts.pop()
  if (open === undefined) return
  const closing = effect.kind === 'CLOSED' ? { closedAtMs: atMs, valueClosed: value } : {}
  alerts.push({ ...open, valueWorst: effect.worst, ...closing })
}
