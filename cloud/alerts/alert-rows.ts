/** An alert as a row, as evaluation finds it, and as it is shown. */

import type { Selectable } from 'kysely'
import type { AlertsTable } from '../database/schema.ts'
import type { Severity } from '../notifications/notifications.ts'
import type { AlertRule } from './alert-rule.ts'
import type { AlertStatus, AlertView, CloseReason } from './alert-view.ts'

/** What evaluation found of one alert: `opened` when this is the first of it. */
export interface AlertFinding {
  readonly id: string
  readonly past: boolean
  readonly valueWorst: number
  /** Null where nothing is new, as in the next two. */
  readonly closedAtMs: number | null
  readonly closeReason: CloseReason | null
  readonly valueClosed: number | null
  readonly opened: {
    readonly rule: AlertRule
    readonly siteId: number
    readonly deviceId: number
    readonly serialNumber: string
    readonly sinceMs: number
    readonly openedAtMs: number
    readonly value: number
  } | null
}

export function toRow(finding: AlertFinding, opened: NonNullable<AlertFinding['opened']>, nowMs: number) {
  const { rule } = opened
  const { id, past, closedAtMs } = finding
  const escalates = rule.escalation !== null && !past && closedAtMs === null
  return {
    id,
    rule_id: rule.id,
    rule_name: rule.name,
    severity: rule.severity,
    site_id: opened.siteId,
    device_id: opened.deviceId,
    serial_number: opened.serialNumber,
    state: (closedAtMs === null ? 'OPEN' : 'CLOSED') satisfies AlertStatus,
    past: past ? 1 : 0,
    since_ms: opened.sinceMs,
    opened_at_ms: opened.openedAtMs,
    closed_at_ms: closedAtMs,
    close_reason: finding.closeReason,
    // By our clock: people are to react, and event time stands still while a gateway is away.
    escalate_at_ms: escalates ? nowMs + (rule.escalation?.afterSeconds ?? 0) * 1_000 : null,
    value_opened: opened.value,
    value_worst: finding.valueWorst,
    value_closed: finding.valueClosed,
    created_at_ms: nowMs,
    updated_at_ms: nowMs,
    rule: JSON.stringify(rule),
  }
}

export function toView(row: Selectable<AlertsTable>): AlertView {
  return {
    id: row.id,
    ruleId: row.rule_id,
    ruleName: row.rule_name,
    severity: row.severity as Severity,
    siteId: row.site_id,
    deviceId: row.device_id,
    serialNumber: row.serial_number,
    state: row.state as AlertStatus,
    past: row.past === 1,
    sinceMs: row.since_ms,
    openedAtMs: row.opened_at_ms,
    closedAtMs: row.closed_at_ms,
    closeReason: row.close_reason as CloseReason | null,
    acknowledgedAtMs: row.acknowledged_at_ms,
    acknowledgedBy: row.acknowledged_by,
    acknowledgedNote: row.acknowledged_note,
    escalateAtMs: row.escalate_at_ms,
    escalatedAtMs: row.escalated_at_ms,
    valueOpened: row.value_opened,
    valueWorst: row.value_worst,
    valueClosed: row.value_closed,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
    rule: JSON.parse(row.rule) as AlertRule,
  }
}
