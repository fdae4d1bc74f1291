/** Puts declared routes onto an Elysia application; whatever goes wrong in one becomes a problem document. */

import { Elysia } from 'elysia'
import type { Clock } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import { type Random, systemRandom } from '../../../shared/random.ts'
import type { Activities } from '../../activity/activity.ts'
import type { Caller } from '../../identity/identity.ts'
import { CallNote, entryOf } from './activity.ts'
import type { Arrival } from './arrival.ts'
import { withBrowserHeaders } from './browser-headers.ts'
import { corsHeaders, preflightAnswer } from './cors.ts'
import { checkHost, checkOrigin, type OriginRules } from './origins.ts'
import { Problem, problemOf } from './problem.ts'
import { REQUEST_ID, requestIdOf } from './request-id.ts'
import { type AnswerContext, isForAnybody, type Route } from './route.ts'

export interface RouterOptions {
  readonly routes: readonly Route[]
  readonly context: AnswerContext
  readonly origins: OriginRules
  /** How the request came. @throws Problem for one that should not have come that way. */
  readonly arrivalOf: (request: Request) => Arrival
  /** Who asks; rejects when nobody is logged in, unless that is `allowed`. */
  readonly callerOf: (request: Request, arrival: Arrival, anonymous: 'allowed' | 'refused') => Promise<Caller>
  /** Address of the other end of the connection, for what is recorded of a request that should not have come that way. */
  readonly peerOf?: (request: Request) => string
  /** Where what was done is recorded; without it nothing is. */
  readonly activities?: Activities | undefined
  readonly clock: Clock
  readonly random?: Random
  readonly log: Logger
  /** Called after every answer; `route` is the declared path, or `unmatched`. */
  readonly onAnswer: (method: string, route: string, status: number, durationMs: number) => void
  /** Called for every request that was refused for who sent it, or where it came from. */
  readonly onRefused: (code: RefusalCode) => void
}

const REFUSALS = ['PEER_REFUSED', 'HOST_REFUSED', 'ORIGIN_REFUSED', 'UNAUTHENTICATED', 'FORBIDDEN'] as const
export type RefusalCode = (typeof REFUSALS)[number]

/** An application that does not listen yet. */
export function createRouter(options: RouterOptions): Elysia {
  const {
    routes,
    context,
    origins,
    callerOf,
    clock,
    random = systemRandom,
    log,
    activities,
    onAnswer,
    onRefused,
  } = options
  const methods = methodsByPath(routes)

  /** Answers that say nothing about the server's errors are the rule; those that do go to the log as well. */
  const explain = (error: unknown, seen: Seen): Response => {
    const problem = problemOf(error)
    const { request, requestId: correlationId, path } = seen
    if (problem.status === 500) {
      const cause = error instanceof Error ? (error.stack ?? error.message) : messageOf(error)
      log.error({ method: request.method, path, correlationId, error: cause }, 'request failed')
    }
    const refusal = REFUSALS.find((code) => problem.code === code || problem.kind === code)
    if (refusal !== undefined) onRefused(refusal)
    seen.code = problem.code
    return problem.toResponse(path)
  }

  /**
   * Lets `work` answer what came in a way in which it may, writes the entry of the activity log, and gives whatever comes of it
   * the headers for browsers.
   */
  const answer = async (
    request: Request,
    route: Route | null,
    params: Readonly<Record<string, string>>,
    work: (arrival: Arrival, seen: Seen) => Response | undefined | Promise<Response | undefined>,
  ): Promise<Response | undefined> => {
    const requestId = requestIdOf(request, random)
    const seen: Seen = { request, requestId, path: pathOf(request), caller: null, note: new CallNote(), code: null }
    let arrival: Arrival | null = null
    let response: Response | undefined
    try {
      arrival = options.arrivalOf(request)
      response = await work(arrival, seen)
    } catch (error) {
      response = explain(error, seen)
    }
    if (activities !== undefined) {
      const status = response?.status ?? 101
      const entry = entryOf({
        ...seen,
        route,
        params,
        status,
        address: arrival?.address ?? options.peerOf?.(request) ?? '',
      })
      if (entry !== null) await activities.record(entry)
    }
    if (response === undefined) return undefined
    const others = { ...corsHeaders(request, origins), [REQUEST_ID]: requestId }
    return withBrowserHeaders(response, arrival?.secure ?? false, others)
  }

  const app = new Elysia({ normalize: false })
  for (const route of routes) {
    // Elysia reads the source of a handler to see what it needs; this one names it all, and no body is parsed for it.
    app.route(
      route.method,
      route.path,
      async ({ request, params }: { request: Request; params: Record<string, string> }) => {
        const startedMs = clock.monotonicMs()
        const response = await answer(request, route, params, async (client, seen) => {
          checkHost(client, origins)
          checkOrigin(request, client, origins)
          const caller = await callerOf(request, client, isForAnybody(route) ? 'allowed' : 'refused')
          seen.caller = caller
          return await route.answer(request, params, { ...seen, caller, client }, context)
        })
        onAnswer(request.method, route.path, response?.status ?? 101, clock.monotonicMs() - startedMs)
        return response
      },
      { parse: 'none' },
    )
  }
  app.onError(async ({ error, code, request }) => {
    const response = await answer(request, null, {}, (_, { path }) => {
      if (code !== 'NOT_FOUND') throw error instanceof Error ? error : new Error(messageOf(error))
      const known = methods.find(({ pattern }) => pattern.test(path))
      const preflight = known === undefined ? null : preflightAnswer(request, origins, known.methods)
      if (preflight === null) throw unmatched(request, path, known)
      return preflight
    })
    onAnswer(request.method, 'unmatched', response?.status ?? 500, 0)
    return response
  })
  return app as unknown as Elysia
}

/** A request on its way. */
interface Seen {
  readonly request: Request
  readonly requestId: string
  readonly path: string
  /** Null until it is known. */
  caller: Caller | null
  readonly note: CallNote
  /** Of the problem that came of it. */
  code: string | null
}

function unmatched(request: Request, path: string, known: PathMethods | undefined): Problem {
  if (known === undefined) {
    return new Problem('NOT_FOUND', `There is nothing at ${path}.`, { hint: 'GET /openapi.json lists what there is.' })
  }
  const allow = [...known.methods].join(', ')
  return new Problem('METHOD_NOT_ALLOWED', `${path} has no ${request.method}.`, {
    hint: `It has ${allow}.`,
    headers: { allow },
  })
}

interface PathMethods {
  readonly pattern: RegExp
  readonly methods: Set<string>
}

function methodsByPath(routes: readonly Route[]): PathMethods[] {
  const byPath = new Map<string, Set<string>>()
  for (const { method, path } of routes) {
    const methods = byPath.get(path) ?? new Set()
    methods.add(method)
    if (method === 'GET') methods.add('HEAD')
    byPath.set(path, methods)
  }
  return [...byPath].map(([path, methods]) => {
    const pattern = path.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : RegExp.escape(part)))
    return { pattern: new RegExp(`^${pattern.join('/')}/?$`), methods }
  })
}

/** Without the query, which may hold what does not belong in a log. A nonsensical Host leaves a URL without origin. */
function pathOf(request: Request): string {
  return URL.parse(request.url)?.pathname ?? request.url.replace(/[?#].*$/s, '')
}
