/** An alert rule as it is asked for: what it becomes, and everything that is wrong with it; pure. */

import { SEVERITIES, type Severity, USER_ID_PATTERN } from '../notifications/notifications.ts'
import { invalidDeviceType } from '../registry/device.ts'
import type { InvalidField } from '../registry/errors.ts'
import { invalidName } from '../registry/text-fields.ts'
import type { AlertRule, Escalation, RuleRecipients } from './alert-rule.ts'
import { COMPARISONS, type Comparison, type Condition, hasRange } from './condition.ts'

export interface NewAlertRule {
  readonly name: string
  /** Default true. */
  readonly enabled?: boolean | undefined
  readonly severity: Severity
  readonly siteId?: number | null | undefined
  readonly deviceType?: string | null | undefined
  readonly deviceId?: number | null | undefined
  readonly field: string
  readonly comparison: Comparison
  /** Of every comparison but OUTSIDE and INSIDE, which have `low` and `high`. */
  readonly threshold?: number | null | undefined
  readonly low?: number | null | undefined
  readonly high?: number | null | undefined
  /** Default 0. */
  readonly durationSeconds?: number | undefined
  /** Default 0. */
  readonly hysteresis?: number | undefined
  /** Default: nobody by name, and the subscribers. */
  readonly recipients?: Partial<RuleRecipients> | undefined
  readonly escalation?:
    | (Omit<Escalation, 'severity'> & { readonly severity?: Severity | null | undefined })
    | null
    | undefined
}

/** What a rule is but for who and when it is. */
export type AlertRuleTerms = Omit<AlertRule, 'id' | 'version' | 'createdAtMs' | 'updatedAtMs'>

/** No control characters. */
export const FIELD_PATTERN = /^\P{Cc}{1,200}$/u
/** A week. */
export const DURATION_SECONDS_MAX = 604_800
export const ESCALATION_SECONDS_RANGE = [1, 604_800] as const
export const RECIPIENTS_MAX = 50

export function termsOf(asked: NewAlertRule): AlertRuleTerms {
  const { name, enabled = true, severity, field, comparison, durationSeconds = 0, hysteresis = 0 } = asked
  const { recipients = { subscribers: true }, escalation = null } = asked
  return {
    name,
    enabled,
    severity,
    scope: { siteId: asked.siteId ?? null, deviceType: asked.deviceType ?? null, deviceId: asked.deviceId ?? null },
    condition: {
      field,
      comparison,
      threshold: asked.threshold ?? null,
      low: asked.low ?? null,
      high: asked.high ?? null,
      durationSeconds,
      hysteresis,
    },
    recipients: { userIds: recipients.userIds ?? [], subscribers: recipients.subscribers ?? false },
    escalation: escalation === null ? null : { ...escalation, severity: escalation.severity ?? null },
  }
}

/** The rule with these changes; what another comparison has no use for goes, unless it was asked for. */
export function changedTerms(rule: AlertRuleTerms, changes: Partial<NewAlertRule>): AlertRuleTerms {
  const { scope, condition } = rule
  const comparison = changes.comparison ?? condition.comparison
  const kept = hasRange(comparison) ? { low: condition.low, high: condition.high } : { threshold: condition.threshold }
  return termsOf({
    ...{ name: rule.name, enabled: rule.enabled, severity: rule.severity, recipients: rule.recipients },
    escalation: rule.escalation,
    ...scope,
    field: condition.field,
    ...kept,
    durationSeconds: condition.durationSeconds,
    hysteresis: condition.hysteresis,
    ...Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined)),
    comparison,
  })
}

/** Whether both find the same alerts. */
export function judgesAlike(a: AlertRuleTerms, b: AlertRuleTerms): boolean {
  const judged = ({ enabled, severity, scope, condition }: AlertRuleTerms) =>
    JSON.stringify([enabled, severity, Object.entries(scope).sort(), Object.entries(condition).sort()])
  return judged(a) === judged(b)
}

/** What is wrong with it but for whether its site and device are there; empty when nothing is. */
export function invalidTerms(terms: AlertRuleTerms): InvalidField[] {
  const { name, severity, scope, condition, recipients, escalation } = terms
  return [
    ...(isText(name) ? invalidName(name) : [{ field: 'name', value: name, remedy: 'text on one line' }]),
    ...oneOf('severity', severity, SEVERITIES),
    ...invalidScope(scope),
    ...invalidCondition(condition),
    ...invalidRecipients(recipients),
    ...(escalation === null ? [] : invalidEscalation(escalation)),
  ]
}

function invalidScope({ siteId, deviceType, deviceId }: AlertRule['scope']): InvalidField[] {
  const invalid = deviceType === null ? [] : invalidDeviceType(deviceType)
  if (deviceId !== null && (siteId !== null || deviceType !== null)) {
    invalid.push({ field: 'deviceId', value: deviceId, remedy: 'without siteId and deviceType: a device says it all' })
  }
  return invalid
}

function invalidCondition(condition: Condition): InvalidField[] {
  const { field, comparison, durationSeconds, hysteresis } = condition
  const invalid = oneOf('comparison', comparison, COMPARISONS)
  if (!FIELD_PATTERN.test(field) || !field.isWellFormed()) {
    invalid.push({ field: 'field', value: field, remedy: 'the name of a reading, 1 to 200 characters on one line' })
  }
  if (!Number.isInteger(durationSeconds) || durationSeconds < 0 || durationSeconds > DURATION_SECONDS_MAX) {
    const remedy = `an integer from 0 to ${DURATION_SECONDS_MAX}`
    invalid.push({ field: 'durationSeconds', value: durationSeconds, remedy })
  }
  if (!Number.isFinite(hysteresis) || hysteresis < 0) {
    invalid.push({ field: 'hysteresis', value: hysteresis, remedy: 'a number, 0 or more' })
  }
  if (invalid.length > 0) return invalid
  return hasRange(comparison) ? invalidRange(condition) : invalidThreshold(condition)
}

function invalidRange({ comparison, threshold, low, high, hysteresis }: Condition): InvalidField[] {
  const invalid: InvalidField[] = []
  if (threshold !== null) {
    invalid.push({ field: 'threshold', value: threshold, remedy: `absent: ${comparison} has low and high` })
  }
  if (!isNumber(low)) invalid.push({ field: 'low', value: low, remedy: 'a number, the lower end of the range' })
  if (!isNumber(high)) invalid.push({ field: 'high', value: high, remedy: 'a number, the upper end of the range' })
  if (!isNumber(low) || !isNumber(high)) return invalid
  if (low >= high) invalid.push({ field: 'high', value: high, remedy: `above low, which is ${low}` })
  else if (comparison === 'OUTSIDE' && low + hysteresis > high - hysteresis) {
    const remedy = `${(high - low) / 2} at most, half of the range: no value would close an alert`
    invalid.push({ field: 'hysteresis', value: hysteresis, remedy })
  }
  return invalid
}

function invalidThreshold({ comparison, threshold, low, high, hysteresis }: Condition): InvalidField[] {
  const invalid: InvalidField[] = []
  for (const [field, value] of Object.entries({ low, high })) {
    if (value !== null) invalid.push({ field, value, remedy: `absent: ${comparison} has a threshold` })
  }
  if (!isNumber(threshold)) invalid.push({ field: 'threshold', value: threshold, remedy: 'a number' })
  if (comparison === 'NE' && hysteresis !== 0) {
    invalid.push({ field: 'hysteresis', value: hysteresis, remedy: '0: a value is back when it is equal' })
  }
  return invalid
}

function invalidRecipients({ userIds, subscribers }: RuleRecipients): InvalidField[] {
  if (userIds.length === 0 && !subscribers) {
    const remedy = 'userIds, or subscribers: true, or both: nobody would be told'
    return [{ field: 'recipients', value: { userIds, subscribers }, remedy }]
  }
  return invalidUsers('recipients/userIds', userIds, 0)
}

function invalidEscalation({ afterSeconds, userIds, severity }: Escalation): InvalidField[] {
  const [low, high] = ESCALATION_SECONDS_RANGE
  const invalid = invalidUsers('escalation/userIds', userIds, 1)
  if (!Number.isInteger(afterSeconds) || afterSeconds < low || afterSeconds > high) {
    const remedy = `an integer from ${low} to ${high}`
    invalid.push({ field: 'escalation/afterSeconds', value: afterSeconds, remedy })
  }
  if (severity !== null) invalid.push(...oneOf('escalation/severity', severity, SEVERITIES))
  return invalid
}

function invalidUsers(field: string, userIds: readonly string[], atLeast: number): InvalidField[] {
  if (userIds.length < atLeast || userIds.length > RECIPIENTS_MAX) {
    return [{ field, value: userIds.length, remedy: `${atLeast} to ${RECIPIENTS_MAX} user ids` }]
  }
  if (new Set(userIds).size < userIds.length) return [{ field, value: userIds, remedy: 'user ids, each once' }]
  return userIds.flatMap((userId, i) => {
    if (USER_ID_PATTERN.test(userId)) return []
    return [{ field: `${field}/${i}`, value: userId, remedy: '1 to 128 letters, digits and . _ @ : -' }]
  })
}

function oneOf(field: string, value: string, allowed: readonly string[]): InvalidField[] {
  return allowed.includes(value) ? [] : [{ field, value, remedy: `one of ${allowed.join(', ')}` }]
}

/** PostgreSQL has no NUL in text, and neither half a character. */
function isText(value: string): boolean {
  return value.isWellFormed() && !/\p{Cc}/u.test(value)
}

function isNumber(value: number | null): value is number {
  return Number.isFinite(value)
}
