/** The activity log over REST: recorded by others than the core, asked for, exported. */

import { type Static, Type } from '@sinclair/typebox'
import {
  ACTIVITY_EXPORT_FORMATS,
  type ActivityFilter,
  type ActivityIntake,
  type ActivityQueries,
  type ActivityTypes,
  activityView,
  EventIdSchema,
  type Outcome,
} from '../../activity/activity.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import {
  ACTIVITY_FILTER,
  ActivityDaySchema,
  ActivityEntrySchema,
  ActivityTypeListSchema,
  activityDayBody,
  WHOSE_FILTER,
} from '../schemas/activity.ts'
import { closed, instant, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import { UserIdSchema } from '../schemas/notification.ts'
import { recordRoute } from './activity-intake.ts'

export interface ActivityRoutesOptions {
  readonly queries: Pick<ActivityQueries, 'list' | 'get' | 'export' | 'days'>
  readonly intake: Pick<ActivityIntake, 'problems' | 'take' | 'noteRefused' | 'batchMax' | 'ownPerMinute' | 'waitOf'>
  /** Asked when it is needed: they are known once all routes are. */
  readonly types: () => Pick<ActivityTypes, 'entries'>
}

const tag = 'activities'
/** Entries are of every site and of none. */
const AUDITOR = { role: 'auditor', scope: 'global' } as const
const PAGES =
  'Where nothing but userId, objectId, one activityType and the time is given pages are full. What else is asked for is looked ' +
  'for in steps: a page may be short, or empty, and have a nextCursor, with which it goes on.'

export function activityRoutes(options: ActivityRoutesOptions): Route[] {
  return [recordRoute(options), ...entryRoutes(options), exportRoute(options), ...catalogueRoutes(options)]
}

function entryRoutes({ queries }: ActivityRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/activities',
        operationId: 'listActivities',
        tag,
        summary: 'Who did what, the newest first, all of it or what matches every criterion given',
        description: PAGES,
        permission: AUDITOR,
        query: Type.Object({ ...PAGE_QUERY, ...WHOSE_FILTER, ...ACTIVITY_FILTER }, closed),
        responses: { 200: { description: 'A page of entries', schema: pageSchema(ActivityEntrySchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query: { limit, cursor, ...filter } }) => {
        const page = await queries.list({ limit, cursor, ...filterOf(filter), opened: true })
        return { status: 200, body: pageBody(page, activityView) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/activities/:eventId',
        operationId: 'getActivity',
        tag,
        summary: 'One entry of the activity log',
        permission: AUDITOR,
        params: Type.Object({ eventId: EventIdSchema }),
        responses: { 200: { description: 'The entry', schema: ActivityEntrySchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { eventId } }) => {
        const entry = await queries.get(eventId, { opened: true })
        if (entry === null) throw notFound('activity', eventId)
        return { status: 200, body: activityView(entry) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/users/:userId/activities',
        operationId: 'listOwnActivities',
        tag,
        summary: 'What a user did, for the user',
        description: `Without what is sealed, such as addresses. ${PAGES}`,
        permission: { role: 'viewer', scope: 'self' },
        params: Type.Object({ userId: UserIdSchema }),
        query: Type.Object({ ...PAGE_QUERY, ...ACTIVITY_FILTER }, closed),
        responses: { 200: { description: 'A page of entries', schema: pageSchema(ActivityEntrySchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params: { userId }, query: { limit, cursor, ...filter } }) => {
        const page = await queries.list({ limit, cursor, ...filterOf(filter), userId, opened: false })
        return { status: 200, body: pageBody(page, activityView) }
      },
    ),
  ]
}

function exportRoute({ queries }: ActivityRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/activities/export',
      operationId: 'exportActivities',
      tag,
      summary: 'The activity log as a file, NDJSON or CSV, of any length',
      description:
        'The newest first, all of it or what matches every criterion given; an NDJSON line is an entry as the other answers have ' +
        'it. The file is read from the database as fast as the client takes it. When the database fails in the middle the ' +
        'connection is broken off without its proper end, which every HTTP client reports: a file without such an error is ' +
        'complete. CSV is that of RFC 4180, in UTF-8, with the metadata as JSON text; text that a spreadsheet would run as a ' +
        'formula (beginning with = + - @ or a control character) has an apostrophe before it.',
      permission: AUDITOR,
      // Taking the log out is itself something to know of.
      activity: 'export',
      query: Type.Object(
        {
          format: Type.Optional(
            Type.Union(
              ACTIVITY_EXPORT_FORMATS.map((format) => Type.Literal(format)),
              { default: 'ndjson' },
            ),
          ),
          ...WHOSE_FILTER,
          ...ACTIVITY_FILTER,
        },
        closed,
      ),
      responses: {
        200: { description: 'The file; text/csv for CSV', schema: Type.String(), mediaType: 'application/x-ndjson' },
      },
      problems: ['UNAVAILABLE'],
    },
    async ({ query: { format = 'ndjson', ...filter }, request, activity }) => {
      activity.about('activity-log', null)
      activity.more({ format })
      const file = await queries.export({ ...filterOf(filter), format }, request.signal)
      const headers = {
        'content-type': format === 'csv' ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson',
        'content-disposition': `attachment; filename="activities.${format}"`,
        'cache-control': 'no-store',
      }
      return new Response(file, { headers })
    },
  )
}

function catalogueRoutes({ queries, types }: ActivityRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/activity-types',
        operationId: 'listActivityTypes',
        tag,
        summary: 'What may be recorded: the catalogue of activity types',
        description: 'An activity of any other type is refused. activity.types in the config adds to it.',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        responses: { 200: { description: 'The types, in alphabetical order', schema: ActivityTypeListSchema } },
      },
      () => ({ status: 200, body: { items: types().entries } }),
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/activity-days',
        operationId: 'listActivityDays',
        tag,
        summary: 'The days of the activity log and the heads of their chains of hashes, the newest first',
        description:
          'busbar-cloud activity verify checks the chains. A day whose entries were removed because of their age is still there.',
        permission: AUDITOR,
        query: Type.Object(PAGE_QUERY, closed),
        responses: { 200: { description: 'A page of days', schema: pageSchema(ActivityDaySchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query }) => ({ status: 200, body: pageBody(await queries.days(query), activityDayBody) }),
    ),
  ]
}

const AllFilter = Type.Object({ ...WHOSE_FILTER, ...ACTIVITY_FILTER })

function filterOf({ activityType, from, to, outcome, ...filter }: Static<typeof AllFilter>): ActivityFilter {
  return {
    ...filter,
    activityTypes: activityType === undefined ? undefined : [...new Set(activityType.split(','))],
    fromMs: instant(from),
    toMs: instant(to),
    outcome: outcome as Outcome | undefined,
  }
}
