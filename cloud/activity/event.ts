/**
 * The value of `user-activity-logs`, a contract with programs that others wrote: the schema that the processor and the API
 * check with, and that the published files in proto/ are made of.
 */

import { type Static, Type } from '@sinclair/typebox'
import '../../shared/instant.ts'
import { ACTIVITY_TYPE_PATTERN } from './activity-types.ts'

export const ACTIVITY_VERSION = '1.0'
/** Who nobody knows: the user of a refused request that shows no login. */
export const ANONYMOUS = 'anonymous'
/** The user of what the core does by itself. */
export const SYSTEM = 'system'
/** Header `source` of what the core records by itself. */
export const RECORDER_SOURCE = 'activity-recorder'

export const OUTCOMES = ['SUCCESS', 'FAILURE', 'REFUSED'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** No control characters; what is shown in a log line or a terminal stays one line. */
const PLAIN = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]{1,128}$'

export const ActivityUserSchema = Type.String({
  pattern: PLAIN,
  description:
    'Who did it, also the key of the record: a user, `api-key:<id>`, `anonymous`, `system` or, of other programs, whoever they name',
})
export const ActivityTypeSchema = Type.String({
  pattern: ACTIVITY_TYPE_PATTERN,
  description: 'What was done, of the catalogue of activity types',
})
export const EventIdSchema = Type.String({
  pattern: '^[A-Za-z0-9_.:-]{1,128}$',
  description: 'Unique; an event may come twice, always with the same id, and is stored once',
})
export const OutcomeSchema = Type.Union(
  OUTCOMES.map((outcome) => Type.Literal(outcome)),
  {
    description: 'REFUSED: for who asked, or where from; FAILURE: for anything else',
  },
)

/** Members of our own, all of which may be absent. */
export const ACTIVITY_EXTRAS = {
  outcome: Type.Optional(OutcomeSchema),
  objectType: Type.Optional(
    Type.String({ pattern: PLAIN, description: 'Kind of what it was done to, such as `device`' }),
  ),
  objectId: Type.Optional(Type.String({ pattern: PLAIN, description: 'What it was done to' })),
  siteId: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Where' })),
  correlationId: Type.Optional(
    Type.String({ pattern: PLAIN, description: 'Of the request: what else came of it has the same' }),
  ),
  recordedBy: Type.Optional(
    Type.String({ pattern: PLAIN, description: 'Who told of it, where that is not the core itself' }),
  ),
}

export const UserActivitySchema = Type.Object(
  {
    userId: ActivityUserSchema,
    activityType: ActivityTypeSchema,
    timestamp: Type.String({ format: 'date-time', description: 'When it was done, RFC 3339' }),
    metadata: Type.Record(Type.String(), Type.Unknown(), {
      description: 'More of it, such as ipAddress, userAgent and sessionId',
    }),
    eventId: EventIdSchema,
    version: Type.String({ pattern: '^1\\.[0-9]{1,4}$', description: 'Version of this form; 1.0' }),
    ...ACTIVITY_EXTRAS,
  },
  {
    $id: 'UserActivity',
    title: 'Somebody did something',
    description:
      'Value of the topic user-activity-logs. Further members may be added; ignore those that you do not know',
    additionalProperties: true,
  },
)
/** As it stands on the topic. */
export type UserActivity = Static<typeof UserActivitySchema>

/** What somebody has done, before it has an id. Never a secret or token in it. */
export interface NewActivity {
  readonly userId: string
  readonly activityType: string
  readonly metadata?: Readonly<Record<string, unknown>>
  readonly eventId?: string
  readonly outcome?: Outcome | undefined
  readonly objectType?: string | undefined
  readonly objectId?: string | undefined
  readonly siteId?: number | undefined
  readonly correlationId?: string | undefined
}

/** What has passed the check, on its way to be stored. */
export interface CheckedActivity {
  readonly eventId: string
  readonly userId: string
  readonly activityType: string
  readonly atMs: number
  readonly version: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly outcome: Outcome | null
  readonly objectType: string | null
  readonly objectId: string | null
  readonly siteId: number | null
  readonly correlationId: string | null
  readonly recordedBy: string | null
  /** Header `source` of its record. */
  readonly source: string | null
}

/** As it is kept. `metadata` has what is sensitive only when it was opened for somebody who may see it. */
export interface ActivityEntry extends CheckedActivity {
  readonly storedAtMs: number
  /** The day, UTC, of its chain, and its place there, from 1. */
  readonly day: string
  readonly place: number
  readonly hash: string
  /** True when something of the metadata is sealed and not shown here. */
  readonly sealed: boolean
}

/** Whoever has something to record; `ActivityRecorder` is it. */
export interface Activities {
  /**
   * Resolves when it is stored with what is to be published, or when `activity.recordWaitMs` are over: then it is stored
   * later. Never rejects.
   */
  record(activity: NewActivity): Promise<void>
}
