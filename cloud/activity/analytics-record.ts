/**
 * The value of `user-activity-analytics`: what dashboards and watchers follow of the activity log. One flat form for all kinds,
 * so that one schema does for them; nothing of an activity's metadata is in it. Pure.
 */

import { type Static, Type } from '@sinclair/typebox'
import type { BusRecord } from '../bus/bus.ts'
import { USER_ACTIVITY_GROUP } from '../bus/catalogue.ts'
import { ACTIVITY_EXTRAS, ActivityTypeSchema, type CheckedActivity, EventIdSchema, OutcomeSchema } from './event.ts'

const ANALYTICS_KINDS = ['ACTIVITY', 'WINDOW', 'SUSPICION'] as const
export const PATTERNS = ['FAILED_LOGINS', 'COMMAND_BURST', 'NEW_ADDRESS', 'UNUSUAL_HOUR'] as const
export type SuspicionPattern = (typeof PATTERNS)[number]

const Count = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description }))
const Time = (description: string) => Type.String({ format: 'date-time', description })

export const UserActivityAnalyticsSchema = Type.Object(
  {
    kind: Type.Union(
      ANALYTICS_KINDS.map((kind) => Type.Literal(kind)),
      {
        description:
          'ACTIVITY: one that matters for security was stored; WINDOW: activities of a stretch of time, counted; SUSPICION: what administrators and auditors are told of',
      },
    ),
    eventId: Type.String({
      ...EventIdSchema,
      description:
        'Of an ACTIVITY that of the activity. What has the same may come twice; of two WINDOWs the one with the larger count holds',
    }),
    timestamp: Time('When it was done; of a WINDOW when it ended'),
    userId: Type.Optional(
      Type.String({ description: 'Who; absent in a WINDOW of all users, whose record has no key' }),
    ),
    activityType: Type.Optional(
      Type.String({ ...ActivityTypeSchema, description: 'What was done; absent in a WINDOW of all types' }),
    ),
    outcome: Type.Optional(OutcomeSchema),
    objectType: ACTIVITY_EXTRAS.objectType,
    objectId: ACTIVITY_EXTRAS.objectId,
    siteId: ACTIVITY_EXTRAS.siteId,
    correlationId: ACTIVITY_EXTRAS.correlationId,
    windowStart: Type.Optional(Time('WINDOW, and the SUSPICION of a count: where counting begins')),
    windowEnd: Type.Optional(Time('Where it ends')),
    count: Count('WINDOW, SUSPICION: activities; the three that follow, of a WINDOW, come to it'),
    succeeded: Count('Of outcome SUCCESS or none'),
    failed: Count('Of outcome FAILURE'),
    refused: Count('Of outcome REFUSED'),
    pattern: Type.Optional(
      Type.Union(
        PATTERNS.map((pattern) => Type.Literal(pattern)),
        { description: 'SUSPICION: which' },
      ),
    ),
    causedBy: Type.Optional(
      Type.String({ ...EventIdSchema, description: 'SUSPICION: eventId of the activity that completed it' }),
    ),
    description: Type.Optional(Type.String({ description: 'SUSPICION: in a sentence' })),
  },
  {
    $id: 'UserActivityAnalytics',
    title: 'What came of activities',
    description:
      'Value of the topic user-activity-analytics. Further members may be added; ignore those that you do not know',
    additionalProperties: true,
  },
)
export type UserActivityAnalytics = Static<typeof UserActivityAnalyticsSchema>

/** What one of them is about; a member that is null or absent is left out of the record. */
export type AnalyticsMembers = { readonly [name in keyof UserActivityAnalytics]: UserActivityAnalytics[name] | null }

/** Types of which every activity is told, whatever came of it; of other types those that did not succeed. */
const SECURITY_TYPES: ReadonlySet<string> = new Set([
  'login',
  'login_refreshed',
  'login_failed',
  'logout',
  'access_refused',
  'command',
  'task',
  'websocket_connect',
])

export function mattersForSecurity({ activityType, outcome }: CheckedActivity): boolean {
  return SECURITY_TYPES.has(activityType) || (outcome !== null && outcome !== 'SUCCESS')
}

export function activityAnalytics(activity: CheckedActivity): BusRecord {
  const { eventId, atMs, userId, activityType, outcome, objectType, objectId, siteId, correlationId } = activity
  const timestamp = new Date(atMs).toISOString()
  const about = { userId, activityType, outcome, objectType, objectId, siteId, correlationId }
  return analyticsRecord({ kind: 'ACTIVITY', eventId, timestamp, ...about })
}

/** Members in the order of the schema. Of a user the key is the user, so that what is told of one stays in order. */
export function analyticsRecord(members: AnalyticsMembers): BusRecord & { readonly value: string } {
  const value = JSON.stringify(members, (_, member: unknown) => (member === null ? undefined : member))
  const headers = { source: USER_ACTIVITY_GROUP, timestamp: members.timestamp as string }
  return { key: members.userId ?? null, value, headers }
}
