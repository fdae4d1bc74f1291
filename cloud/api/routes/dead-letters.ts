/** Dead letters over REST: listed, looked at, replayed. */

import { type Static, Type } from '@sinclair/typebox'
import { deadLetterTopicOf, USER_ACTIVITY_LOGS } from '../../bus/catalogue.ts'
import type {
  DeadLetterDetails,
  DeadLetterFilter,
  DeadLetters,
  ReplayRequest,
} from '../../dead-letters/dead-letters.ts'
import type { Caller } from '../../identity/identity.ts'
import { InvalidRegistrationError } from '../../registry/errors.ts'
import type { ActivityNote } from '../http/activity.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { invalidInput } from '../http/validation.ts'
import { closed, instant, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import {
  DEAD_LETTER_FILTER,
  DeadLetterDetailsSchema,
  DeadLetterIdSchema,
  DeadLetterReplayResultSchema,
  DeadLetterReplaySchema,
  DeadLetterSchema,
  DeadLetterSummarySchema,
  deadLetterBody,
  deadLetterDetailsBody,
  deadLetterSummaryBody,
  replayBody,
} from '../schemas/dead-letter.ts'

/** They hold whatever devices and services sent, of every site. */
const PERMISSION = { role: 'engineer', scope: 'global' } as const

type DeadLetterService = Pick<DeadLetters, 'list' | 'get' | 'summary' | 'replay'>

export function deadLetterRoutes({ deadLetters }: { readonly deadLetters: DeadLetterService }): Route[] {
  const tag = 'dead-letters'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/dead-letters',
        operationId: 'listDeadLetters',
        tag,
        summary: 'Dead letters, the newest first, all of them or those that match every criterion given',
        permission: PERMISSION,
        query: Type.Object(
          { ...PAGE_QUERY, cursor: Type.Optional({ ...PAGE_QUERY.cursor, maxLength: 600 }), ...DEAD_LETTER_FILTER },
          closed,
        ),
        responses: { 200: { description: 'A page of dead letters', schema: pageSchema(DeadLetterSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query: { limit, cursor, ...filter } }) => {
        const page = await deadLetters.list({ limit, cursor, ...filterOf(filter) })
        return { status: 200, body: pageBody(page, deadLetterBody) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/dead-letters/summary',
        operationId: 'summarizeDeadLetters',
        tag,
        summary: 'How many dead letters there are of each topic and code',
        permission: PERMISSION,
        responses: { 200: { description: 'The counts', schema: DeadLetterSummarySchema } },
        problems: ['UNAVAILABLE'],
      },
      async () => ({ status: 200, body: deadLetterSummaryBody(await deadLetters.summary()) }),
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/dead-letters/:id',
        operationId: 'getDeadLetter',
        tag,
        summary: 'One dead letter with its error, its headers and what it was before',
        description: 'What was on its way to the activity log is shown to auditors over every site alone.',
        permission: PERMISSION,
        params: Type.Object({ id: DeadLetterIdSchema }),
        responses: { 200: { description: 'The dead letter', schema: DeadLetterDetailsSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, caller }) => {
        const details = await deadLetters.get(id)
        if (details === null) throw notFound('dead letter', id)
        return { status: 200, body: deadLetterDetailsBody(seenBy(caller, details)) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/dead-letters/replay',
        operationId: 'replayDeadLetters',
        tag,
        summary: 'Publish what dead letters were before they became dead letters',
        description:
          'To the topic that they came from, with their key and headers, and the header replayOf. What ingest gave up is read ' +
          'again as when it arrived. Those that would fail again are refused and nothing is published of them. Each is replayed ' +
          'once, however many ask at the same time; a crash on the way may publish some twice, which consumers recognise by ' +
          'gateway and seq, or by the id.',
        permission: PERMISSION,
        body: DeadLetterReplaySchema,
        idempotent: true,
        responses: { 200: { description: 'What became of each', schema: DeadLetterReplayResultSchema } },
        problems: ['UNAVAILABLE'],
      },
      async ({ body, remember, activity }) => {
        noteReplay(activity, body)
        const result = await deadLetters
          .replay(requestOf(body), async (noted, transaction) => await remember?.(answer(noted), transaction))
          .catch(explain)
        return answer(result)
      },
    ),
  ]
}

/** Of the activity log, where addresses are sealed for others than auditors, no more than why it is here. */
function seenBy(caller: Caller, details: DeadLetterDetails): DeadLetterDetails {
  const { originalTopic, topic } = details.letter
  const isActivity = originalTopic === USER_ACTIVITY_LOGS || topic === deadLetterTopicOf(USER_ACTIVITY_LOGS)
  return !isActivity || caller.sites('auditor') === 'all' ? details : { ...details, original: null, value: null }
}

/** Ids that an entry of the activity log names. */
const IDS_NOTED_MAX = 20

function noteReplay(activity: ActivityNote, body: Static<typeof DeadLetterReplaySchema>): void {
  const { ids, filter, dryRun = false } = body
  const [only] = ids ?? []
  activity.about('dead-letter', ids?.length === 1 && only !== undefined ? only : null)
  activity.more({
    dryRun,
    ...(ids === undefined ? { filter } : { count: ids.length, ids: ids.slice(0, IDS_NOTED_MAX) }),
  })
}

function answer(result: Parameters<typeof replayBody>[0]): Reply {
  return { status: 200, body: replayBody(result) }
}

function requestOf({ filter, ...request }: Static<typeof DeadLetterReplaySchema>): ReplayRequest {
  const { ids, limit, cursor } = request
  if ((ids === undefined) === (filter === undefined)) {
    const remedy = 'either ids or filter; a filter without members means all of them'
    throw invalidInput([{ in: 'body', pointer: '', remedy }])
  }
  if (ids !== undefined && (limit ?? cursor) !== undefined) {
    const pointer = limit === undefined ? '/cursor' : '/limit'
    throw invalidInput([{ in: 'body', pointer, value: limit ?? cursor, remedy: 'left out; it belongs to a filter' }])
  }
  return { ...request, filter: filter && filterOf(filter) }
}

function filterOf({
  since,
  until,
  ...filter
}: Omit<DeadLetterFilter, 'sinceMs' | 'untilMs'> & {
  readonly since?: string
  readonly until?: string
}): DeadLetterFilter {
  return { ...filter, sinceMs: instant(since), untilMs: instant(until) }
}

/** A cursor that is wrong came in the body. */
function explain(error: unknown): never {
  if (!(error instanceof InvalidRegistrationError)) throw error
  throw invalidInput(
    error.fields.map(({ field, value, remedy }) => ({ in: 'body', pointer: `/${field}`, value, remedy })),
  )
}
