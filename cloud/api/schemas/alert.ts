/** Alert rules, and the alerts they find, as the API shows and takes them. */

import { Type } from '@sinclair/typebox'
import {
  ALERT_ID_PATTERN,
  ALERT_STATES,
  type AlertRule,
  type AlertView,
  CLOSE_REASONS,
  COMPARISONS,
  DURATION_SECONDS_MAX,
  ESCALATION_SECONDS_RANGE,
  RECIPIENTS_MAX,
  RULE_ID_PATTERN,
} from '../../alerts/alerts.ts'
import { SEVERITIES, USER_ID_PATTERN } from '../../notifications/notifications.ts'
import {
  closed,
  DeviceIdSchema,
  NameSchema,
  nullable,
  SerialNumberSchema,
  SiteIdSchema,
  TimeSchema,
  time,
  timeOrNull,
} from './common.ts'
import { DeviceTypeSchema } from './device.ts'

export const AlertRuleIdSchema = Type.String({
  pattern: RULE_ID_PATTERN.source,
  description: '"rule-" and 16 hexadecimal digits',
})
export const AlertIdSchema = Type.String({
  pattern: ALERT_ID_PATTERN.source,
  description: '"alert-" and 24 hexadecimal digits',
})
export const AlertSeveritySchema = Type.Union(SEVERITIES.map((severity) => Type.Literal(severity)))
export const AlertStateSchema = Type.Union(ALERT_STATES.map((state) => Type.Literal(state)))

const ComparisonSchema = Type.Union(
  COMPARISONS.map((comparison) => Type.Literal(comparison)),
  { description: 'OUTSIDE and INSIDE compare with the range of low to high, the others with threshold' },
)
const FieldSchema = Type.String({
  minLength: 1,
  maxLength: 200,
  pattern: '^[^\\x00-\\x1f\\x7f]*$',
  description: 'Name of a reading, such as powerKw; phases.l1 is the member l1 of the object phases',
})
const UserIdsSchema = (minItems: number) =>
  Type.Array(Type.String({ pattern: USER_ID_PATTERN.source, description: '1 to 128 letters, digits and . _ @ : -' }), {
    minItems,
    maxItems: RECIPIENTS_MAX,
    uniqueItems: true,
  })
const RecipientsSchema = Type.Object(
  {
    userIds: Type.Optional(UserIdsSchema(0)),
    subscribers: Type.Optional(
      Type.Boolean({ description: 'Whoever asks for TELEMETRY_ALERT at the site in their preferences' }),
    ),
  },
  { ...closed, description: 'Who is told when an alert opens and when it closes' },
)
const EscalationSchema = Type.Object(
  {
    afterSeconds: Type.Integer({ minimum: ESCALATION_SECONDS_RANGE[0], maximum: ESCALATION_SECONDS_RANGE[1] }),
    userIds: UserIdsSchema(1),
    severity: Type.Optional(nullable(AlertSeveritySchema)),
  },
  { ...closed, description: 'Who is told when an alert is still open by then and nobody has acknowledged it' },
)

const REQUIRED = {
  name: NameSchema,
  severity: AlertSeveritySchema,
  field: FieldSchema,
  comparison: ComparisonSchema,
}
const OTHERS = {
  enabled: Type.Boolean(),
  siteId: nullable(SiteIdSchema),
  deviceType: nullable(DeviceTypeSchema),
  deviceId: nullable(DeviceIdSchema),
  threshold: nullable(Type.Number()),
  low: nullable(Type.Number()),
  high: nullable(Type.Number()),
  durationSeconds: Type.Integer({
    minimum: 0,
    maximum: DURATION_SECONDS_MAX,
    description: 'How long it must hold before an alert opens, by the time of the readings',
  }),
  hysteresis: Type.Number({
    minimum: 0,
    description: 'How far back beyond the threshold a value must come before the alert closes',
  }),
  escalation: nullable(EscalationSchema),
}
const OPTIONAL = Type.Partial(Type.Object({ ...OTHERS, recipients: RecipientsSchema })).properties

const SCOPE = 'It is about the device of deviceId, or all of siteId, of deviceType or of both, or about every device.'

export const NewAlertRuleSchema = Type.Object(
  { ...REQUIRED, ...OPTIONAL },
  {
    ...closed,
    $id: 'NewAlertRule',
    description: `${SCOPE} enabled is true, durationSeconds and hysteresis are 0, recipients are the subscribers when absent.`,
  },
)
export const AlertRuleChangesSchema = Type.Object(
  { ...Type.Partial(Type.Object(REQUIRED)).properties, ...OPTIONAL },
  {
    ...closed,
    minProperties: 1,
    $id: 'AlertRuleChanges',
    description: 'What is absent stays; recipients and escalation are replaced as a whole, null removes.',
  },
)

export const AlertRuleSchema = Type.Object(
  {
    id: AlertRuleIdSchema,
    ...REQUIRED,
    ...OTHERS,
    recipients: Type.Object({ userIds: UserIdsSchema(0), subscribers: Type.Boolean() }, closed),
    version: Type.Integer({ minimum: 1, description: 'One more with each change' }),
    createdAt: TimeSchema,
    updatedAt: TimeSchema,
  },
  { ...closed, $id: 'AlertRule', description: SCOPE },
)

export const AlertSchema = Type.Object(
  {
    id: AlertIdSchema,
    ruleId: AlertRuleIdSchema,
    ruleName: NameSchema,
    severity: AlertSeveritySchema,
    siteId: SiteIdSchema,
    deviceId: DeviceIdSchema,
    serialNumber: SerialNumberSchema,
    state: AlertStateSchema,
    past: Type.Boolean({ description: 'Found in readings that came late from a gateway: nobody was told' }),
    since: Type.String({ format: 'date-time', description: 'Time of the first reading that met the condition' }),
    openedAt: Type.String({
      format: 'date-time',
      description: 'Time of the reading with which it had held for long enough',
    }),
    closedAt: nullable(
      Type.String({ format: 'date-time', description: 'Of a past alert, the time of the last reading that held it' }),
    ),
    closeReason: Type.Union([...CLOSE_REASONS.map((reason) => Type.Literal(reason)), Type.Null()], {
      description: 'Null while it is open, and of a past alert whose end is not known',
    }),
    acknowledgedAt: nullable(TimeSchema),
    acknowledgedBy: nullable(Type.String()),
    acknowledgedNote: nullable(Type.String()),
    escalateAt: nullable(
      Type.String({ format: 'date-time', description: 'When it is escalated unless it closes or is acknowledged' }),
    ),
    escalatedAt: nullable(TimeSchema),
    valueOpened: Type.Number(),
    valueWorst: Type.Number(),
    valueClosed: nullable(Type.Number()),
    rule: { ...AlertRuleSchema, description: 'The rule as it was when the alert opened' },
    createdAt: TimeSchema,
    updatedAt: TimeSchema,
  },
  { ...closed, $id: 'Alert', description: 'What a rule found at a device' },
)

export const AlertAcknowledgementSchema = Type.Object(
  {
    userId: Type.String({ pattern: USER_ID_PATTERN.source, description: 'Who has seen to it' }),
    note: Type.Optional(
      nullable(Type.String({ minLength: 1, maxLength: 1_000, pattern: '^[^\\x00]*$', description: 'For people' })),
    ),
  },
  { ...closed, $id: 'AlertAcknowledgement' },
)

export function alertRuleBody(rule: AlertRule) {
  const { id, name, enabled, severity, scope, condition, recipients, escalation } = rule
  return {
    id,
    name,
    enabled,
    severity,
    siteId: scope.siteId,
    deviceType: scope.deviceType,
    deviceId: scope.deviceId,
    field: condition.field,
    comparison: condition.comparison,
    threshold: condition.threshold,
    low: condition.low,
    high: condition.high,
    durationSeconds: condition.durationSeconds,
    hysteresis: condition.hysteresis,
    recipients: { userIds: recipients.userIds, subscribers: recipients.subscribers },
    escalation,
    version: rule.version,
    createdAt: time(rule.createdAtMs),
    updatedAt: time(rule.updatedAtMs),
  }
}

export function alertBody(alert: AlertView) {
  return {
    id: alert.id,
    ruleId: alert.ruleId,
    ruleName: alert.ruleName,
    severity: alert.severity,
    siteId: alert.siteId,
    deviceId: alert.deviceId,
    serialNumber: alert.serialNumber,
    state: alert.state,
    past: alert.past,
    since: time(alert.sinceMs),
    openedAt: time(alert.openedAtMs),
    closedAt: timeOrNull(alert.closedAtMs),
    closeReason: alert.closeReason,
    acknowledgedAt: timeOrNull(alert.acknowledgedAtMs),
    acknowledgedBy: alert.acknowledgedBy,
    acknowledgedNote: alert.acknowledgedNote,
    escalateAt: timeOrNull(alert.escalateAtMs),
    escalatedAt: timeOrNull(alert.escalatedAtMs),
    valueOpened: alert.valueOpened,
    valueWorst: alert.valueWorst,
    valueClosed: alert.valueClosed,
    rule: alertRuleBody(alert.rule),
    createdAt: time(alert.createdAtMs),
    updatedAt: time(alert.updatedAtMs),
  }
}
