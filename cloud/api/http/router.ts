/** Puts declared routes onto an Elysia application; whatever goes wrong in one becomes a problem document. */

import { Elysia } from 'elysia'
import type { Clock } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Caller } from '../../identity/identity.ts'
import { checkOrigin, type OriginRules } from './origins.ts'
import { Problem, problemOf } from './problem.ts'
import type { AnswerContext, Client, Route } from './route.ts'

export interface RouterOptions {
  readonly routes: readonly Route[]
  readonly context: AnswerContext
  readonly origins: OriginRules
  readonly clientOf: (request: Request) => Client
  /** Who asks; rejects when nobody is logged in, unless that is `allowed`. */
  readonly callerOf: (request: Request, anonymous: 'allowed' | 'refused') => Promise<Caller>
  readonly clock: Clock
  readonly log: Logger
  /** Called after every answer; `route` is the declared path, or `unmatched`. */
  readonly onAnswer: (method: string, route: string, status: number, durationMs: number) => void
}

/** An application that does not listen yet. */
export function createRouter(options: RouterOptions): Elysia {
  const { routes, context, origins, clientOf, callerOf, clock, log, onAnswer } = options
  const methods = methodsByPath(routes)

  /** Answers that say nothing about the server's errors are the rule; those that do go to the log as well. */
  const explain = (error: unknown, request: Request, path: string): Response => {
    const problem = problemOf(error)
    if (problem.status === 500) {
      const cause = error instanceof Error ? (error.stack ?? error.message) : messageOf(error)
      log.error({ method: request.method, path, error: cause }, 'request failed')
    }
    return problem.toResponse(path)
  }

  const app = new Elysia({ normalize: false })
  for (const route of routes) {
    // Elysia reads the source of a handler to see what it needs; this one names it all, and no body is parsed for it.
    app.route(
      route.method,
      route.path,
      async ({ request, params }: { request: Request; params: Record<string, string> }) => {
        const startedMs = clock.monotonicMs()
        let response: Response | undefined
        try {
          checkOrigin(request, origins)
          const caller = await callerOf(request, route.permission === 'none' ? 'allowed' : 'refused')
          response = await route.answer(request, params, { caller, client: clientOf(request) }, context)
        } catch (error) {
          response = explain(error, request, pathOf(request))
        }
        onAnswer(request.method, route.path, response?.status ?? 101, clock.monotonicMs() - startedMs)
        return response
      },
      { parse: 'none' },
    )
  }
  app.onError(({ error, code, request }) => {
    const path = pathOf(request)
    const problem = code === 'NOT_FOUND' ? unmatched(request, path, methods) : error
    const response = explain(problem, request, path)
    onAnswer(request.method, 'unmatched', response.status, 0)
    return response
  })
  return app as unknown as Elysia
}

function unmatched(request: Request, path: string, methods: readonly PathMethods[]): Problem {
  const known = methods.find(({ pattern }) => pattern.test(path))
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
