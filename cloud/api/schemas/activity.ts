/** The activity log as the API shows it, and what is recorded over it. */

import { Type } from '@sinclair/typebox'
import {
  ACTIVITY_EXTRAS,
  ACTIVITY_TYPE_PATTERN,
  type ActivityDay,
  ActivityTypeSchema,
  ActivityUserSchema,
  DAY_PATTERN,
  EventIdSchema,
  OutcomeSchema,
  UserActivitySchema,
} from '../../activity/activity.ts'
import { closed, InstantSchema, nullable, TimeSchema, timeOrNull } from './common.ts'

/** Characters that are looked for in metadata. */
const TEXT_CHARS_MAX = 200
/** Types of one question. */
const TYPES_MAX = 20

const { recordedBy, ...extras } = ACTIVITY_EXTRAS

const GIVEN = {
  userId: Type.Optional({
    ...ActivityUserSchema,
    description:
      'Who did it. A user records what it did itself and may leave it out; a program with an API key says who; where nobody ' +
      'logs in it is required',
  }),
  activityType: { ...ActivityTypeSchema, description: 'What was done, of the list at /api/v1/activity-types' },
  timestamp: Type.Optional({
    ...InstantSchema,
    description: `When it was done; now if absent. ${InstantSchema.description}`,
  }),
  metadata: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      description:
        'More of it. Of what a user sends, ipAddress, userAgent and sessionId are filled in where they are absent. Never put a ' +
        'secret into it',
    }),
  ),
  eventId: Type.Optional({ ...EventIdSchema, description: `Drawn if absent. ${EventIdSchema.description}` }),
  version: Type.Optional(UserActivitySchema.properties.version),
  ...extras,
}

export const NewActivitySchema = Type.Object(GIVEN, { ...closed, $id: 'NewActivity' })

/** @param batchMax activities of one request. */
export function newActivitiesSchema(batchMax: number) {
  return Type.Object(
    {
      activities: Type.Optional(
        Type.Array(NewActivitySchema, { minItems: 1, maxItems: batchMax, description: 'Several, instead of one' }),
      ),
      ...GIVEN,
      activityType: Type.Optional(GIVEN.activityType),
    },
    {
      ...closed,
      $id: 'NewActivities',
      description: 'Either one activity, with its activityType, or a list of activities',
    },
  )
}

export const TakenActivitiesSchema = Type.Object(
  { eventIds: Type.Array(EventIdSchema, { description: 'In the order of the activities' }) },
  { ...closed, $id: 'TakenActivities' },
)

export const ACTIVITY_FILTER = {
  activityType: Type.Optional(
    Type.String({
      pattern: `^${ACTIVITY_TYPE_PATTERN.slice(1, -1)}(,${ACTIVITY_TYPE_PATTERN.slice(1, -1)}){0,${TYPES_MAX - 1}}$`,
      description: `A type, or up to ${TYPES_MAX} separated by commas`,
    }),
  ),
  from: Type.Optional({ ...InstantSchema, description: `Done at that time or later. ${InstantSchema.description}` }),
  to: Type.Optional({ ...InstantSchema, description: `Done before that time. ${InstantSchema.description}` }),
  objectType: extras.objectType,
  objectId: extras.objectId,
  siteId: extras.siteId,
  outcome: extras.outcome,
  correlationId: extras.correlationId,
  recordedBy: Type.Optional({
    ...ActivityUserSchema,
    description: 'Who told of it, where that is not the core itself',
  }),
  text: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: TEXT_CHARS_MAX,
      pattern: '^[^\\u0000]*$',
      description:
        'Anywhere in the metadata, names included; capital letters of ASCII are like small ones. What is sealed is looked at for ' +
        'whoever may see it',
    }),
  ),
}

export const WHOSE_FILTER = { userId: Type.Optional({ ...ActivityUserSchema, description: 'Who did it' }) }

const DaySchema = Type.String({ pattern: DAY_PATTERN, description: 'The day, UTC, of a chain of hashes' })

export const ActivityEntrySchema = Type.Object(
  {
    eventId: EventIdSchema,
    userId: ActivityUserSchema,
    activityType: ActivityTypeSchema,
    timestamp: { ...TimeSchema, description: 'When it was done' },
    outcome: nullable(OutcomeSchema),
    objectType: nullable(Type.String({ description: extras.objectType.description as string })),
    objectId: nullable(Type.String({ description: extras.objectId.description as string })),
    siteId: nullable(Type.Integer()),
    correlationId: nullable(Type.String({ description: extras.correlationId.description as string })),
    recordedBy: nullable(Type.String({ description: recordedBy.description as string })),
    source: nullable(Type.String({ description: 'The program that put it onto the bus, as it says itself' })),
    version: Type.String(),
    metadata: Type.Record(Type.String(), Type.Unknown()),
    sealed: Type.Boolean({
      description:
        'True when some of the metadata is not shown: to others than auditors, and when its key is not there',
    }),
    storedAt: TimeSchema,
    day: DaySchema,
    place: Type.Integer({ minimum: 1, description: 'Its place there' }),
    hash: Type.String({ description: 'Of it and of the entry before' }),
  },
  { ...closed, $id: 'ActivityEntry', description: 'Who did what' },
)

export const ActivityTypeListSchema = Type.Object(
  {
    items: Type.Array(
      Type.Object(
        {
          type: ActivityTypeSchema,
          description: Type.String(),
          origin: Type.Union(
            ['core', 'known', 'config'].map((origin) => Type.Literal(origin)),
            { description: 'core: Busbar records it itself; known: others do; config: activity.types names it' },
          ),
        },
        { ...closed, $id: 'ActivityType' },
      ),
    ),
  },
  { ...closed, $id: 'ActivityTypeList' },
)

export const ActivityDaySchema = Type.Object(
  {
    day: DaySchema,
    entries: Type.Integer({ minimum: 0 }),
    previousHash: Type.String({ description: 'What the first entry follows: headHash of the day before' }),
    headHash: Type.String({
      description: 'Of the last entry. Whoever keeps it elsewhere can show what was cut off later',
    }),
    keyId: Type.String({ description: 'Of the key that the hashes are made with' }),
    purgedAt: nullable({ ...TimeSchema, description: 'When its entries were removed because of their age' }),
  },
  { ...closed, $id: 'ActivityDay', description: 'A day of the chain of hashes' },
)

export function activityDayBody({ purgedAtMs, ...day }: ActivityDay) {
  return { ...day, purgedAt: timeOrNull(purgedAtMs) }
}
