/** What people are told of alerts and of devices' statuses; pure. */

import { formatDuration } from '../../shared/cli/format.ts'
import { type Notice, type Severity, SUBSCRIBERS } from '../notifications/notifications.ts'
import type { DeviceStatus } from '../registry/device.ts'
import type { StatusEvent } from '../registry/device-event.ts'
import { CLOUD_GATEWAY } from '../registry/device-event.ts'
import type { AlertRule } from './alert-rule.ts'
import type { AlertView, CloseReason } from './alert-view.ts'
import { describeCondition } from './condition.ts'

/** What a notice of an alert says about it. */
export interface ToldAlert {
  readonly id: string
  readonly siteId: number
  readonly serialNumber: string
  readonly sinceMs: number
  readonly openedAtMs: number
  readonly valueWorst: number
  readonly rule: AlertRule
}

const SEVERITY_OF_STATUS: Readonly<Record<DeviceStatus, Severity>> = {
  ONLINE: 'INFO',
  MAINTENANCE: 'INFO',
  OFFLINE: 'WARNING',
  ERROR: 'CRITICAL',
}

export function openedNotice(alert: ToldAlert, value: number): Notice {
  const { rule, serialNumber, siteId, openedAtMs } = alert
  const { field, durationSeconds } = rule.condition
  const held = durationSeconds === 0 ? '' : ` for ${formatDuration(durationSeconds * 1_000)}`
  const condition = describeCondition(rule.condition)
  return {
    ...common(alert, 'opened'),
    ...ofRule(rule, `${serialNumber} ${value} (${condition})`),
    severity: rule.severity,
    title: `${rule.name}: ${serialNumber}`,
    content: `${field} of ${serialNumber} at site ${siteId} is ${value}: ${condition}${held}.`,
    atMs: openedAtMs,
  }
}

/** Of the same severity as the opening, so that whoever heard the one hears the other. */
export function closedNotice(alert: ToldAlert, value: number, closedAtMs: number): Notice {
  const { rule, serialNumber, siteId, sinceMs, valueWorst } = alert
  const { field } = rule.condition
  const lasted = formatDuration(Math.max(0, closedAtMs - sinceMs))
  return {
    ...common(alert, 'closed'),
    ...ofRule(rule, `${serialNumber} is back`),
    severity: rule.severity,
    title: `${rule.name}: ${serialNumber} is back`,
    content:
      `${field} of ${serialNumber} at site ${siteId} is back at ${value}. ` +
      `It was ${describeCondition(rule.condition)} for ${lasted}, at worst ${valueWorst}.`,
    atMs: closedAtMs,
  }
}

/** Never part of a burst: whoever is called has to come. */
export function escalatedNotices(alert: AlertView, nowMs: number): Notice[] {
  const { rule, serialNumber, siteId, sinceMs, valueWorst } = alert
  if (rule.escalation === null) return []
  const { field } = rule.condition
  const { severity, userIds } = rule.escalation
  return [
    {
      ...common(alert, 'escalated'),
      severity: severity ?? rule.severity,
      title: `${rule.name}: ${serialNumber}, not acknowledged`,
      content:
        `${field} of ${serialNumber} at site ${siteId} has been ${describeCondition(rule.condition)} for ` +
        `${formatDuration(Math.max(0, nowMs - sinceMs))}, at worst ${valueWorst}, and nobody has acknowledged it.`,
      recipients: { userIds, subscribers: false },
      atMs: nowMs,
    },
  ]
}

const WHY: Readonly<Record<CloseReason, string>> = {
  RECOVERED: 'the values came back',
  RULE_CHANGED: 'the rule was changed',
  RULE_DISABLED: 'the rule was disabled',
  RULE_DELETED: 'the rule was deleted',
  OUT_OF_SCOPE: 'the rule is about the device no more',
}

/** One for all that close with their rule, however many they are. @param alerts of one rule, as it was; not empty. */
export function withdrawnNotice(alerts: readonly AlertView[], reason: CloseReason, nowMs: number): Notice {
  const [first] = alerts as readonly [AlertView]
  const { rule } = first
  const one = alerts.length === 1
  const what = one ? `alert of ${first.serialNumber} is` : `${alerts.length} open alerts are`
  return {
    type: 'TELEMETRY_ALERT',
    severity: rule.severity,
    title: one ? `${rule.name}: ${first.serialNumber}, closed` : `${rule.name}: ${alerts.length} alerts closed`,
    content: `The ${what} closed, since ${WHY[reason]}; ${rule.condition.field} was not seen to come back.`,
    toldInPart: { title: `${rule.name}: alerts closed`, content: `Alerts of it are closed, since ${WHY[reason]}.` },
    relatedEntityId: one ? first.id : rule.id,
    siteIds: [...new Set(alerts.map(({ siteId }) => siteId))].sort((a, b) => a - b),
    key: one ? `alert:${first.id}:closed` : `alert-rule:${rule.id}:${rule.version}:${reason}:${first.id}`,
    recipients: rule.recipients,
    atMs: nowMs,
  }
}

/** Of a change of status that was not backfilled. */
export function statusNotice(event: StatusEvent): Notice {
  const { deviceId, siteId, serialNumber, status, reason, gatewayId, seq, atMs } = event
  const ofCloud = gatewayId === null || gatewayId === CLOUD_GATEWAY
  return {
    type: 'DEVICE_STATUS',
    severity: SEVERITY_OF_STATUS[status],
    title: `${serialNumber} is ${status}`,
    content:
      reason === null
        ? `${serialNumber} at site ${siteId} is ${status}.`
        : `${serialNumber} at site ${siteId}: ${reason}`,
    relatedEntityId: String(deviceId),
    siteIds: [siteId],
    // The same record twice on the topic is one change.
    key: `device-status:${gatewayId ?? deviceId}:${seq}`,
    recipients: SUBSCRIBERS,
    burst: {
      // What the cloud notices by itself, such as silence, comes at once for a site rather than for "the cloud".
      key: ofCloud ? `device-status:site:${siteId}` : `device-status:${gatewayId}`,
      subject: ofCloud ? `site ${siteId}` : `gateway ${gatewayId}`,
      label: `${serialNumber} ${status}`,
    },
    atMs,
  }
}

function common(alert: ToldAlert, what: 'opened' | 'closed' | 'escalated') {
  return {
    type: 'TELEMETRY_ALERT',
    relatedEntityId: alert.id,
    siteIds: [alert.siteId],
    key: `alert:${alert.id}:${what}`,
  } as const
}

/** What opens and what closes is one burst, so that what is back is not told before it was told that it was gone. */
function ofRule({ id, name, recipients }: AlertRule, label: string): Pick<Notice, 'recipients' | 'burst'> {
  return { recipients, burst: { key: `alert-rule:${id}`, subject: `rule ${name}`, label } }
}
