/** What is put onto `user-activity-logs`, by whoever publishes it. Pure but for the ids. */

import { type Random, randomHex } from '../../shared/random.ts'
import { USER_ACTIVITY_LOGS } from '../bus/catalogue.ts'
import { ACTIVITY_VERSION, type NewActivity, type UserActivity } from './event.ts'

export interface ActivityRecord {
  readonly topic: typeof USER_ACTIVITY_LOGS
  readonly key: string
  /** JSON text. */
  readonly value: string
  readonly headers: { readonly source: string; readonly timestamp: string }
}

/** Its key is the user, so that what a user does stays in order. */
export function activityRecord(event: UserActivity, source: string): ActivityRecord {
  const { userId, activityType, timestamp, metadata, eventId, version, ...others } = event
  return {
    topic: USER_ACTIVITY_LOGS,
    key: userId,
    // The members stand in the contract's order; what is absent is left out.
    value: JSON.stringify({ userId, activityType, timestamp, metadata, eventId, version, ...others }),
    headers: { source, timestamp },
  }
}

export function newEventId(random: Random): string {
  return `evt_${randomHex(random, 12)}`
}

/** @param given id and time of one that has none of its own. */
export function eventOf(
  activity: NewActivity,
  given: { readonly eventId: string; readonly nowMs: number },
): UserActivity {
  const { outcome, objectType, objectId, siteId, correlationId, recordedBy } = activity
  return {
    userId: activity.userId,
    activityType: activity.activityType,
    timestamp: new Date(activity.atMs ?? given.nowMs).toISOString(),
    metadata: { ...activity.metadata },
    eventId: activity.eventId ?? given.eventId,
    version: ACTIVITY_VERSION,
    ...(outcome === undefined ? {} : { outcome }),
    ...(objectType === undefined ? {} : { objectType }),
    ...(objectId === undefined ? {} : { objectId }),
    ...(siteId === undefined ? {} : { siteId }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(recordedBy === undefined ? {} : { recordedBy }),
  }
}
