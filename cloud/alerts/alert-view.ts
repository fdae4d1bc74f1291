/** An alert as it is shown: what a rule found at a device, from when to when, and who has seen it. */

import type { Severity } from '../notifications/notifications.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import type { AlertRule } from './alert-rule.ts'

export const ALERT_STATES = ['OPEN', 'CLOSED'] as const
export type AlertStatus = (typeof ALERT_STATES)[number]

/** RECOVERED: the value came back. The others: the rule does not watch the device in this way any more. */
export const CLOSE_REASONS = ['RECOVERED', 'RULE_CHANGED', 'RULE_DISABLED', 'RULE_DELETED', 'OUT_OF_SCOPE'] as const
export type CloseReason = (typeof CLOSE_REASONS)[number]

export const ALERT_ID_PATTERN = /^alert-[0-9a-f]{24}$/

export interface AlertView {
  readonly id: string
  readonly ruleId: string
  readonly ruleName: string
  readonly severity: Severity
  readonly siteId: number
  readonly deviceId: number
  readonly serialNumber: string
  readonly state: AlertStatus
  /** Found in backfilled readings, after the fact: nobody was told. */
  readonly past: boolean
  /** Times are Unix milliseconds. Event time of the first reading that met the condition. */
  readonly sinceMs: number
  /** Event time of the reading with which it had been met for long enough. */
  readonly openedAtMs: number
  /** Event time of the reading that closed it; of a past alert, of the last reading that held it. */
  readonly closedAtMs: number | null
  /** Null while it is open, and of a past alert whose end is not known. */
  readonly closeReason: CloseReason | null
  readonly acknowledgedAtMs: number | null
  readonly acknowledgedBy: string | null
  readonly acknowledgedNote: string | null
  /** When it is escalated unless it closes or is acknowledged; null when it is not, or was. */
  readonly escalateAtMs: number | null
  readonly escalatedAtMs: number | null
  readonly valueOpened: number
  /** The farthest beyond what is allowed. */
  readonly valueWorst: number
  readonly valueClosed: number | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
  /** The rule as it was when the alert opened. */
  readonly rule: AlertRule
}

export interface AlertFilter {
  readonly state?: AlertStatus | undefined
  readonly severity?: Severity | undefined
  readonly siteId?: number | undefined
  readonly deviceId?: number | undefined
  readonly serialNumber?: string | undefined
  readonly ruleId?: string | undefined
  readonly past?: boolean | undefined
  /** Opened at or after, event time, Unix milliseconds. */
  readonly fromMs?: number | undefined
  /** Opened before. */
  readonly toMs?: number | undefined
  /** At no other sites. */
  readonly sites?: SiteScope
}
