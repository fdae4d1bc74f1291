/** Activities that others than the core record over REST. */

import { isObject } from '../../../shared/json-object.ts'
import type { ActivityIntake, GivenActivity, Taking } from '../../activity/activity.ts'
import type { Caller } from '../../identity/identity.ts'
import { includesSite } from '../../registry/site-scope.ts'
import { senderOf } from '../http/activity.ts'
import { doerProblems } from '../http/doer.ts'
import { type InvalidInput, Problem } from '../http/problem.ts'
import { type Call, defineRoute, type Route } from '../http/route.ts'
import { invalidInput } from '../http/validation.ts'
import { newActivitiesSchema, TakenActivitiesSchema } from '../schemas/activity.ts'

type Members = Readonly<Record<string, unknown>>
type Intake = Pick<ActivityIntake, 'problems' | 'take' | 'noteRefused' | 'batchMax' | 'ownPerMinute' | 'waitOf'>

/** Errors of one request that are told of. */
const ERRORS_MAX = 20
const SEEN = 'a site that you may see; GET /api/v1/sites lists them'

export function recordRoute({ intake }: { readonly intake: Intake }): Route {
  return defineRoute(
    {
      method: 'POST',
      path: '/api/v1/activities',
      operationId: 'recordActivities',
      tag: 'activities',
      summary: 'Record what somebody did: one activity, or several at once',
      description:
        'The answer comes when all of them are on the bus; one that is wrong refuses all. What Busbar does itself it records by ' +
        'itself. A user records what it did itself, a program with an API key what anybody did; recordedBy says who told of it. ' +
        'Without an answer send the same again with the same Idempotency-Key: nothing is stored twice then, as it is not when ' +
        'the activities have an eventId of their own.',
      permission: { role: 'viewer', scope: 'site' },
      sites: 'listed',
      // It is what it records.
      activity: false,
      body: newActivitiesSchema(intake.batchMax),
      idempotent: true,
      responses: { 202: { description: 'They are on the bus', schema: TakenActivitiesSchema } },
      problems: ['TOO_MANY_REQUESTS', 'UNAVAILABLE'],
      alsoWrong: async (body, caller) => {
        intake.noteRefused()
        return problemsOf(intake, body, caller, { correlationId: 'none' })
      },
    },
    async (call) => {
      const { body, caller } = call
      const taking = takingOf(call)
      const problems = problemsOf(intake, body, caller, taking)
      if (problems.length > 0) {
        intake.noteRefused()
        throw invalidInput(problems)
      }
      const given = givenOf(body).map((each) => attributed(each as GivenActivity, caller))
      if (caller.kind === 'user') inTime(intake, caller.id, given.length)
      const eventIds = await intake.take(given, { ...taking, retryKey: retryKeyOf(call) }).catch(explain)
      return { status: 202, body: { eventIds } }
    },
  )
}

/** @throws Problem for more than one person may record in a minute. */
function inTime(intake: Intake, userId: string, activities: number): void {
  const waitMs = intake.waitOf(userId, activities)
  if (waitMs === 0) return
  throw new Problem('TOO_MANY_REQUESTS', `You have recorded ${intake.ownPerMinute} activities within a minute.`, {
    code: 'RATE_LIMITED',
    hint: 'Wait, or let a program with an API key record them. The limit is activity.ownPerMinute.',
    headers: { 'retry-after': String(Math.ceil(waitMs / 1_000)) },
  })
}

/** The activities of a body, of whatever form it is. */
function givenOf(body: unknown): readonly unknown[] {
  if (!isObject(body)) return []
  const { activities } = body
  if (activities === undefined) return [body]
  return Array.isArray(activities) ? activities : []
}

/** Of a body that need not be of the form that it should be, beyond what its schema says. */
function problemsOf(intake: Intake, body: unknown, caller: Caller, taking: Omit<Taking, 'retryKey'>): InvalidInput[] {
  if (!isObject(body)) return []
  const given = givenOf(body)
  const one = body.activities === undefined
  const place = (pointer: string): string => (one ? pointer.replace(/^\/0/, '') : `/activities${pointer}`)
  const others = one ? [] : Object.keys(body).filter((name) => name !== 'activities')
  const problems: InvalidInput[] = others.map((name) => {
    return { in: 'body', pointer: `/${name}`, remedy: 'left out: each of the activities has its own' }
  })
  for (const [i, each] of given.entries()) {
    if (problems.length >= ERRORS_MAX) break
    if (isObject(each)) problems.push(...attributionProblems(each, caller, place(`/${i}`)))
  }
  const attributedOnes = given.map((each) =>
    isObject(each) ? attributed(each as unknown as GivenActivity, caller) : each,
  )
  for (const { pointer, ...problem } of intake.problems(attributedOnes, taking)) {
    problems.push({ in: 'body', pointer: place(pointer), ...problem })
  }
  return [...new Map(problems.toReversed().map((problem) => [problem.pointer, problem])).values()]
    .toReversed()
    .slice(0, ERRORS_MAX)
}

/** Who may say that somebody did something, and where. */
function attributionProblems({ userId, siteId }: Members, caller: Caller, pointer: string): InvalidInput[] {
  const said = typeof userId === 'string' ? userId : undefined
  const doer = caller.kind === 'api-key' ? [] : doerProblems(caller, said, `${pointer}/userId`)
  if (typeof siteId !== 'number' || includesSite(caller.sites('viewer'), siteId)) return doer
  return [...doer, { in: 'body', pointer: `${pointer}/siteId`, value: siteId, remedy: SEEN }]
}

function attributed(given: GivenActivity, caller: Caller): GivenActivity {
  return { ...given, userId: given.userId ?? caller.id, recordedBy: caller.id }
}

type AnyCall = Call<unknown, unknown, unknown>

function takingOf({ caller, client, request, requestId }: AnyCall): Omit<Taking, 'retryKey'> {
  // The address and agent of a program say nothing of who did it.
  if (caller.kind !== 'user') return { correlationId: requestId }
  const { address } = client
  const userAgent = request.headers.get('user-agent')
  return { correlationId: requestId, metadata: senderOf({ address, userAgent, sessionId: caller.credentialId }) }
}

/** Of a body that has been checked: one that is nested deeply would take the stack. */
function retryKeyOf({ caller, request, body }: AnyCall): string | null {
  const key = request.headers.get('idempotency-key')
  return key === null ? null : JSON.stringify([caller.id, key, body])
}

/** What can never be put onto the bus as it is. */
function explain(error: unknown): never {
  const code = (error as { readonly code?: unknown }).code
  if (code !== 'BATCH_TOO_LARGE' && code !== 'RECORD_TOO_LARGE') throw error
  const { message, hint } = error as { readonly message: string; readonly hint?: string }
  throw new Problem('BODY_TOO_LARGE', message, { code, hint, cause: error })
}
