/** How a suspicious pattern is told, to people and on `user-activity-analytics`. Pure. No address: those are sealed where they are stored. */

import { localTime } from '../../shared/local-time.ts'
import type { BusRecord } from '../bus/bus.ts'
import type { Notice } from '../notifications/notifications.ts'
import { derivedEventId } from './activity-record.ts'
import { analyticsRecord, type SuspicionPattern } from './analytics-record.ts'
import type { CheckedActivity } from './event.ts'

export interface Suspicion {
  readonly pattern: SuspicionPattern
  /** What completed it. */
  readonly activity: CheckedActivity
  /** At least so many within that time, where the pattern is a count. */
  readonly count: number | null
  readonly withinMs: number | null
}

const TITLES = {
  FAILED_LOGINS: 'Many failed logins of a user',
  COMMAND_BURST: 'Many commands of a user in a short time',
  NEW_ADDRESS: 'A login from an address that the user has not used before',
  UNUSUAL_HOUR: 'A login at an hour that is unusual for the user',
} as const satisfies Readonly<Record<SuspicionPattern, string>>

export function noticeOf(suspicion: Suspicion, timeZone: string): Omit<Notice, 'recipients'> {
  const { pattern, activity } = suspicion
  const { eventId, userId, atMs } = activity
  const title = TITLES[pattern]
  return {
    type: 'SECURITY_ALERT',
    severity: 'WARNING',
    title,
    content: `${userId}: ${describe(suspicion, timeZone)} (entry ${eventId} of the activity log)`,
    relatedEntityId: userId,
    siteIds: null,
    key: `activity/${pattern}/${eventId}`,
    burst: { key: `activity/${pattern}`, subject: title, label: userId },
    atMs,
  }
}

export function recordOf(suspicion: Suspicion, timeZone: string): BusRecord & { readonly value: string } {
  const { pattern, activity, count, withinMs } = suspicion
  const { eventId, userId, activityType, atMs, siteId, correlationId } = activity
  const timestamp = new Date(atMs).toISOString()
  return analyticsRecord({
    kind: 'SUSPICION',
    eventId: derivedEventId('sus', pattern, eventId),
    timestamp,
    ...{ userId, activityType, siteId, correlationId },
    ...(withinMs !== null && { windowStart: new Date(atMs - withinMs).toISOString(), windowEnd: timestamp }),
    ...{ count, pattern, causedBy: eventId },
    description: describe(suspicion, timeZone),
  })
}

function describe({ pattern, activity, count, withinMs }: Suspicion, timeZone: string): string {
  const within = `within ${(withinMs ?? 0) / 1000} s`
  switch (pattern) {
    case 'FAILED_LOGINS':
      return `${count} failed logins or more ${within}`
    case 'COMMAND_BURST':
      return `${count} commands and tasks or more ${within}`
    case 'NEW_ADDRESS':
      return 'a login from an address that is not known of this user'
    case 'UNUSUAL_HOUR':
      return `a login at ${String(localTime(timeZone, activity.atMs).hour).padStart(2, '0')} o’clock (${timeZone}), when this user is seldom there`
  }
}
