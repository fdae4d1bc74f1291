/** An alert, what a rule found, as the API shows it. */

import { Type } from '@sinclair/typebox'
import { ALERT_ID_PATTERN, ALERT_STATES, type AlertView, CLOSE_REASONS } from '../../alerts/alerts.ts'
import { USER_ID_PATTERN } from '../../notifications/notifications.ts'
import { AlertRuleIdSchema, AlertRuleSchema, AlertSeveritySchema, alertRuleBody } from './alert-rule.ts'
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

export { AlertRuleIdSchema }

export const AlertIdSchema = Type.String({
  pattern: ALERT_ID_PATTERN.source,
  description: '"alert-" and 24 hexadecimal digits',
})
export const AlertStateSchema = Type.Union(ALERT_STATES.map((state) => Type.Literal(state)))

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
    userId: Type.Optional(
      Type.String({
        pattern: USER_ID_PATTERN.source,
        description: 'Who has seen to it: whoever is logged in, and no other; to be said where nobody logs in',
      }),
    ),
    note: Type.Optional(
      nullable(Type.String({ minLength: 1, maxLength: 1_000, pattern: '^[^\\x00]*$', description: 'For people' })),
    ),
  },
  { ...closed, $id: 'AlertAcknowledgement' },
)

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
