/** What an alert rule is, and what is wrong with one that somebody asks for. */

import type { Severity } from '../notifications/notifications.ts'
import type { Condition } from './condition.ts'

export interface AlertRule {
  readonly id: string
  readonly name: string
  readonly enabled: boolean
  readonly severity: Severity
  readonly scope: RuleScope
  readonly condition: Condition
  readonly recipients: RuleRecipients
  readonly escalation: Escalation | null
  /** One more with each change. */
  readonly version: number
  /** Unix milliseconds. */
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

/** A device, or all of a site, of a type, or of both; all null is every device. */
export interface RuleScope {
  readonly siteId: number | null
  readonly deviceType: string | null
  readonly deviceId: number | null
}

/** Who is told when an alert opens and closes. */
export interface RuleRecipients {
  readonly userIds: readonly string[]
  /** Whoever's preferences ask for TELEMETRY_ALERT at the site. */
  readonly subscribers: boolean
}

/** Who is told besides when an alert is still open and nobody has acknowledged it. */
export interface Escalation {
  readonly afterSeconds: number
  readonly userIds: readonly string[]
  /** Null for that of the rule. */
  readonly severity: Severity | null
}

export const RULE_ID_PATTERN = /^rule-[0-9a-f]{16}$/
