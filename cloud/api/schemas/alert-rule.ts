/** An alert rule, and a trial of it, as the API shows and takes them. */

import { Type } from '@sinclair/typebox'
import {
  type AlertRule,
  COMPARISONS,
  DURATION_SECONDS_MAX,
  ESCALATION_SECONDS_RANGE,
  RECIPIENTS_MAX,
  RULE_ID_PATTERN,
  TRIAL_ALERTS_SHOWN_MAX,
  type TrialResult,
} from '../../alerts/alerts.ts'
import { SEVERITIES, USER_ID_PATTERN } from '../../notifications/notifications.ts'
import {
  closed,
  DeviceIdSchema,
  InstantSchema,
  NameSchema,
  nullable,
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
export const AlertSeveritySchema = Type.Union(SEVERITIES.map((severity) => Type.Literal(severity)))

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

export const AlertRuleTestSchema = Type.Object(
  {
    from: InstantSchema,
    to: { ...InstantSchema, description: `Before that time. ${InstantSchema.description}` },
    deviceId: Type.Optional(
      Type.Integer({
        ...DeviceIdSchema,
        description: 'Needed unless the rule is about one device; any device will do',
      }),
    ),
    changes: Type.Optional(AlertRuleChangesSchema),
  },
  {
    ...closed,
    $id: 'AlertRuleTest',
    description: 'With changes it is tried as if it were changed; the rule stays as it is.',
  },
)

export const AlertRuleTestResultSchema = Type.Object(
  {
    deviceId: DeviceIdSchema,
    readings: Type.Integer({ minimum: 0, description: 'Readings that have the field' }),
    judgedUntil: TimeSchema,
    complete: Type.Boolean({ description: 'false when there were more readings than one test looks at' }),
    found: Type.Integer({ minimum: 0, description: 'Alerts that it would have found' }),
    alerts: Type.Array(
      Type.Object(
        {
          since: TimeSchema,
          openedAt: TimeSchema,
          closedAt: nullable(TimeSchema),
          valueOpened: Type.Number(),
          valueWorst: Type.Number(),
          valueClosed: nullable(Type.Number()),
        },
        closed,
      ),
      { maxItems: TRIAL_ALERTS_SHOWN_MAX, description: 'The first of them' },
    ),
  },
  { ...closed, $id: 'AlertRuleTestResult' },
)

export function alertRuleTestBody(result: TrialResult) {
  const { deviceId, readings, judgedUntilMs, complete, found, alerts } = result
  return {
    deviceId,
    readings,
    judgedUntil: time(judgedUntilMs),
    complete,
    found,
    alerts: alerts.map(({ sinceMs, openedAtMs, closedAtMs, ...values }) => ({
      since: time(sinceMs),
      openedAt: time(openedAtMs),
      closedAt: timeOrNull(closedAtMs),
      ...values,
    })),
  }
}

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
