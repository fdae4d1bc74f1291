/** What a user wants to be told of, and how: the rules, pure. */

import { isTimeZone } from '../../shared/local-time.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import { NOTIFICATION_TYPES, type NotificationType, type Recipients, SEVERITIES, type Severity } from './notice.ts'
import type { QuietHours } from './quiet-hours.ts'

export interface TypePreference {
  readonly enabled: boolean
  /** What is below is not told. */
  readonly minSeverity: Severity
}

export interface Preferences {
  /** Told what happens at the chosen sites, besides what names the user. */
  readonly subscribed: boolean
  readonly types: Readonly<Record<NotificationType, TypePreference>>
  /** Null for all that the user may see. They choose among what subscribers are told; what names the user is told for any of those. */
  readonly sites: readonly number[] | null
  readonly quietHours: QuietHours | null
}

/** What is to change; members that are absent stay as they are. */
export interface PreferenceChanges {
  readonly subscribed?: boolean | undefined
  readonly types?: { readonly [type in NotificationType]?: Partial<TypePreference> | undefined } | undefined
  readonly sites?: readonly number[] | null | undefined
  readonly quietHours?: (Omit<QuietHours, 'exceptCritical'> & { readonly exceptCritical?: boolean }) | null | undefined
}

/** Who a notice is for. */
export interface Audience {
  readonly type: NotificationType
  readonly severity: Severity
  /** Null when it is no matter of a site. */
  readonly siteIds: readonly number[] | null
  readonly recipients: Recipients
}

/** Of a user who has never said anything: what names them is told, and nothing else. */
export const DEFAULT_PREFERENCES: Preferences = {
  subscribed: false,
  types: Object.fromEntries(
    NOTIFICATION_TYPES.map((type) => [type, { enabled: true, minSeverity: 'INFO' }]),
  ) as unknown as Preferences['types'],
  sites: null,
  quietHours: null,
}

/** Sites that one user may choose; who wants more takes all. */
export const SITES_MAX = 1_000

/**
 * Preferences after a change. Whoever says what they want is a subscriber from then on, unless they say otherwise.
 * @param before null when there were none.
 * @throws InvalidRegistrationError for a time zone that does not exist.
 */
export function changed(before: Preferences | null, changes: PreferenceChanges): Preferences {
  const base = before ?? { ...DEFAULT_PREFERENCES, subscribed: true }
  const { quietHours } = changes
  if (quietHours != null && !isTimeZone(quietHours.timeZone)) {
    const remedy = 'the IANA name of a time zone, such as Europe/Berlin or UTC'
    throw new InvalidRegistrationError([{ field: 'quietHours/timeZone', value: quietHours.timeZone, remedy }])
  }
  const types = NOTIFICATION_TYPES.map((type) => {
    const { enabled = base.types[type].enabled, minSeverity = base.types[type].minSeverity } =
      changes.types?.[type] ?? {}
    return [type, { enabled, minSeverity }]
  })
  return {
    subscribed: changes.subscribed ?? base.subscribed,
    types: Object.fromEntries(types) as Preferences['types'],
    sites: changes.sites === undefined ? base.sites : changes.sites && [...new Set(changes.sites)],
    quietHours:
      quietHours === undefined
        ? base.quietHours
        : quietHours && { ...quietHours, exceptCritical: quietHours.exceptCritical ?? true },
  }
}

/** As stored by `JSON.stringify`; a type that came later has its default. */
export function readPreferences(text: string): Preferences {
  const stored = JSON.parse(text) as Preferences
  return { ...DEFAULT_PREFERENCES, ...stored, types: { ...DEFAULT_PREFERENCES.types, ...stored.types } }
}

/**
 * Whether a user who has these preferences is told. What is CRITICAL and names the user is told even when its type is switched
 * off: whoever named them counts on it, such as the escalation of an alarm. Neither reaches beyond the sites that the user may
 * see, and what is at no site reaches those subscribers only who see all.
 */
export function isTold(userId: string, preferences: Preferences, audience: Audience, sees: SiteScope = 'all'): boolean {
  const { type, severity, siteIds, recipients } = audience
  const { enabled, minSeverity } = preferences.types[type]
  const asked = enabled && rank(severity) >= rank(minSeverity)
  const seen = siteIds?.filter((siteId) => includesSite(sees, siteId)) ?? null
  if (sees !== 'all' && seen?.length === 0) return false
  if (recipients.userIds.includes(userId) && (asked || severity === 'CRITICAL')) return true
  if (seen === null && sees !== 'all') return false
  return recipients.subscribers && preferences.subscribed && asked && isAmong(seen, preferences.sites)
}

export function highest(one: Severity, other: Severity): Severity {
  return rank(one) >= rank(other) ? one : other
}

export function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity)
}

function isAmong(siteIds: readonly number[] | null, sites: readonly number[] | null): boolean {
  return siteIds === null || sites === null || siteIds.some((site) => sites.includes(site))
}
