/** What a service has to tell people, before it is known whom, and the one way to tell it. */

import type { Transaction } from 'kysely'
import type { Database } from '../database/schema.ts'

export const NOTIFICATION_TYPES = [
  'NEW_MESSAGE',
  'DEVICE_STATUS',
  'TELEMETRY_ALERT',
  'TASK_COMPLETED',
  'GATEWAY_OFFLINE',
  'SECURITY_ALERT',
] as const
export type NotificationType = (typeof NOTIFICATION_TYPES)[number]

/** Ascending. */
export const SEVERITIES = ['INFO', 'WARNING', 'CRITICAL'] as const
export type Severity = (typeof SEVERITIES)[number]

/** A person as others name them: letters, digits and `. _ @ : -`. */
export const USER_ID_PATTERN = /^[A-Za-z0-9._@:-]{1,128}$/

/** Who is told; whoever is named and subscribes is told once. */
export interface Recipients {
  readonly userIds: readonly string[]
  /** Whoever's preferences ask for notices of this type at one of the sites as well. */
  readonly subscribers: boolean
}

export const SUBSCRIBERS: Recipients = { userIds: [], subscribers: true }

export interface Notice {
  readonly type: NotificationType
  readonly severity: Severity
  readonly title: string
  readonly content: string
  /** The alert, device, gateway or task that it is about. */
  readonly relatedEntityId: string | null
  /** Where it happened; null when it is no matter of a site. */
  readonly siteIds: readonly number[] | null
  /** Names what happened, for ever: the same notice told again reaches nobody twice. */
  readonly key: string
  /** The preferences of those who are named count as well. */
  readonly recipients: Recipients
  /** For who may see some of the sites only; absent for a text that says no more than that something happened there. */
  readonly toldInPart?: { readonly title: string; readonly content: string }
  /** When many of one key come at once, some are told one by one and the others together. */
  readonly burst?: {
    readonly key: string
    /** What the notices have in common, such as `gateway sub-12`, `rule Too hot`. */
    readonly subject: string
    /** What tells this one from the others, such as `INV-001 OFFLINE`, `INV-001 87 (above 80)`. */
    readonly label: string
  }
  /** When it happened, Unix milliseconds. */
  readonly atMs: number
}

/** How services tell people; `Notifications` is it. */
export interface Notifier {
  /** Stores what is to be told, in the caller's transaction. May run again with the same notices. */
  notify(notices: readonly Notice[], transaction: Transaction<Database>): Promise<void>
  /** What was stored is committed: tell it without waiting for the next look. */
  nudge(): void
}
