/** Activities for tests, and a database with some of them in it. */

import {
  ACTIVITY_VERSION,
  type ActivityKeys,
  ActivityStore,
  ActivityTypes,
  activityKeysOf,
  type CheckedActivity,
} from '../../cloud/activity/activity.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { MasterKey } from '../../cloud/identity/identity.ts'
import { systemClock } from '../../shared/clock.ts'
import { systemRandom } from '../../shared/random.ts'

/** The catalogue without operations of the API, and one type that the config names. */
export const TYPES = new ActivityTypes(new Map(), ['switching_order_signed'])

export function someKeys(...secrets: readonly number[]): ActivityKeys {
  const keys = (secrets.length === 0 ? [7] : secrets).map((secret) => Buffer.alloc(32, secret))
  return activityKeysOf(new MasterKey(keys, systemRandom), 'activity.keys')
}

let made = 0

/** A page that ann looked at, unless `members` say otherwise. */
export function someActivity(members: Partial<CheckedActivity> = {}): CheckedActivity {
  return {
    eventId: `evt_${String(++made).padStart(24, '0')}`,
    userId: 'ann',
    activityType: 'page_view',
    atMs: Date.UTC(2026, 0, 31, 12) + made * 1_000,
    version: ACTIVITY_VERSION,
    metadata: { ipAddress: '10.0.0.7', userAgent: 'curl/8', page: '/sites' },
    outcome: 'SUCCESS',
    objectType: null,
    objectId: null,
    siteId: null,
    correlationId: null,
    recordedBy: null,
    source: 'test',
    ...members,
  }
}

/** Puts them at the end of the chain, as the processor does. */
export async function storeActivities(
  database: DatabaseHandle,
  keys: ActivityKeys,
  activities: readonly CheckedActivity[],
): Promise<void> {
  const store = new ActivityStore({
    dialect: database.dialect,
    keys,
    sensitiveFields: ['ipAddress', 'userAgent'],
    clock: systemClock,
    random: systemRandom,
  })
  await database.transaction((transaction) => store.append(activities, transaction))
}
