/** An activity log to be written, asked and verified: keys, the catalogue, entries, and cores that append. */

import {
  type ActivityKeys,
  ActivityStore,
  ActivityTypes,
  activityKeysOf,
  type CheckedActivity,
  type VerificationOptions,
  type VerificationReport,
  verifyActivities,
} from '../../cloud/activity/activity.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { MasterKey } from '../../cloud/identity/identity.ts'
import type { Clock } from '../../shared/clock.ts'
import { systemRandom } from '../../shared/random.ts'

export const OLD_KEY = Buffer.alloc(32, 7)
export const NEW_KEY = Buffer.alloc(32, 8)

/** The catalogue without operations of the API, and one type that the config names. */
export const TYPES = new ActivityTypes(new Map(), ['switching_order_signed'])

/** The first for what is new, as in the setting. */
export function activityKeys(...keys: readonly [Uint8Array, ...Uint8Array[]]): ActivityKeys {
  return activityKeysOf(new MasterKey(keys, systemRandom), 'activity.keys')
}

export function checkedActivity(eventId: string, more: Partial<CheckedActivity> = {}): CheckedActivity {
  return {
    eventId,
    userId: 'user123',
    activityType: 'login',
    atMs: Date.UTC(2026, 0, 1),
    version: '1.0',
    metadata: { ipAddress: '192.0.2.7', userAgent: 'Mozilla/5.0', sessionId: 'sess_1' },
    outcome: 'SUCCESS',
    objectType: 'device',
    objectId: 'INV-001',
    siteId: 1,
    correlationId: 'request-1',
    recordedBy: 'user7',
    source: 'busbar-cloud',
    ...more,
  }
}

let made = 0

/** A page that ann looked at, a second after the one before, unless `members` say otherwise. */
export function someActivity(members: Partial<CheckedActivity> = {}): CheckedActivity {
  const none = { objectType: null, objectId: null, siteId: null, correlationId: null, recordedBy: null }
  return checkedActivity(`evt_${String(++made).padStart(24, '0')}`, {
    userId: 'ann',
    activityType: 'page_view',
    atMs: Date.UTC(2026, 0, 31, 12) + made * 1_000,
    metadata: { ipAddress: '10.0.0.7', userAgent: 'curl/8', page: '/sites' },
    source: 'test',
    ...none,
    ...members,
  })
}

export interface ActivityCore {
  readonly keys: ActivityKeys
  /** Appends in a transaction of its own; ids of what was new. */
  append(activities: readonly CheckedActivity[]): Promise<readonly string[]>
  verify(more?: Partial<VerificationOptions>): Promise<VerificationReport>
}

export function activityCore(
  database: DatabaseHandle,
  clock: Pick<Clock, 'wallMs'>,
  keys: ActivityKeys = activityKeys(OLD_KEY),
): ActivityCore {
  const sensitiveFields = ['ipAddress', 'userAgent']
  const store = new ActivityStore({ dialect: database.dialect, keys, sensitiveFields, clock, random: systemRandom })
  return {
    keys,
    async append(activities) {
      const stored = await database.transaction((transaction) => store.append(activities, transaction))
      return stored.map(({ eventId }) => eventId)
    },
    verify: (more = {}) => verifyActivities({ database, keys, nowMs: clock.wallMs(), ...more }),
  }
}

/** What was found, as `KIND day/place`, or without the place where it is about the day. */
export function found({ findings }: VerificationReport): string[] {
  return findings.map(({ kind, day, place, lastPlace }) => {
    const to = lastPlace === null || lastPlace === place ? '' : `-${lastPlace}`
    return place === null ? `${kind} ${day}` : `${kind} ${day}/${place}${to}`
  })
}
