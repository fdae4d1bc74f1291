/**
 * The one way to declare a route: what it is for, the permission it needs, the schemas that both check a request and
 * describe it in the OpenAPI document, and the handler.
 */

import type { Static, TObject, TSchema } from '@sinclair/typebox'
import type { Transaction } from 'kysely'
import type { Database } from '../../database/schema.ts'
import type { Caller } from '../../identity/identity.ts'
import { allowedAt, type Concern, type RequiredPermission, requireRole, requireSelf } from '../permission.ts'
import { type ActivityNote, activityTypeOfRoute, type CallNote } from './activity.ts'
import { readJsonBody } from './body.ts'
import { type InvalidInput, Problem, type ProblemKind } from './problem.ts'
import { type Checker, checkerFor, invalidInput, readQuery, readText } from './validation.ts'

/** What a handler gets: every part has passed the check. */
export interface Call<Params, Query, Body> {
  readonly params: Params
  readonly query: Query
  readonly body: Body
  readonly request: Request
  /** Who asks; of a route with the permission `none` a caller with no name and no rights, unless somebody is logged in. */
  readonly caller: Caller
  readonly client: Client
  /** Names the request wherever something came of it: the header x-request-id, correlationId of log lines and activities. */
  readonly requestId: string
  /** For what the entry of the activity log is to say that the request alone does not tell. */
  readonly activity: ActivityNote
  /**
   * Of a request with an idempotency key: stores the answer in the transaction of the effect, so that both are there or none.
   * Rejects when another request has taken the key over; the transaction must fail then.
   */
  readonly remember?: Remember
}

/** The way a request came. */
export interface Client {
  /** IP address of who asks, as the proxies that are trusted say where there are any. */
  readonly address: string
  /** Whether it came over TLS. */
  readonly secure: boolean
}

/**
 * Where the permission of a route with the scope `site` is asked for. Whoever has the role at every site is not judged by it:
 * the handler says itself what does not exist.
 */
export interface SiteRule<C> {
  /** What the request is about; null when that does not exist. */
  of(call: C): Promise<Concern> | Concern
  /** The answer for what does not exist, and for what the caller may not see. */
  missing(call: C): Problem
}

export type Remember = (reply: Reply, transaction: Transaction<Database>) => Promise<void>

export interface Reply {
  readonly status: number
  /** Sent as JSON. */
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface ResponseDeclaration {
  readonly description: string
  /** Absent for an answer without a JSON body. */
  readonly schema?: TSchema
  /** Default application/json. */
  readonly mediaType?: string
}

/** Everything about a route but its handler. */
export interface RouteDeclaration {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** Parameters as `:name`. */
  readonly path: string
  readonly operationId: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  readonly permission: RequiredPermission
  /** `required`: for whoever is logged in, in whatever role, although the permission is `none`. */
  readonly login?: 'required'
  /** Writing is everything but GET, unless it says otherwise: what an API key needs the scope for. */
  readonly access?: 'read' | 'write'
  /**
   * The type of the entry that each call writes into the activity log. Default: what writes has its operationId in snake case,
   * and what reads writes none. False for none, but of a call that was refused.
   */
  readonly activity?: string | false
  /** `later`: an API key needs no scope for the route itself, since it is asked for with what follows. */
  readonly scopes?: 'later'
  readonly params?: TObject
  readonly query?: TObject
  readonly body?: TSchema
  /** A request without a body stands for one with an empty object. */
  readonly bodyOptional?: boolean
  readonly responses: Readonly<Record<number, ResponseDeclaration>>
  /** Problems besides those that follow from the schemas. */
  readonly problems?: readonly ProblemKind[]
  /** Takes an Idempotency-Key header: the same request sent twice has one effect. */
  readonly idempotent?: boolean
  /**
   * What else is wrong with a body that its schema refuses, so that one answer tells everything. The handler checks the same
   * of a body that passes. What the caller may not see does not exist.
   */
  readonly alsoWrong?: (body: unknown, caller: Caller) => Promise<readonly InvalidInput[]>
}

export interface Route extends RouteDeclaration {
  /** @param params path parameters as text, decoded. Throws a Problem, or whatever the handler throws. */
  answer(
    request: Request,
    params: Readonly<Record<string, string>>,
    who: { readonly caller: Caller; readonly client: Client; readonly requestId: string; readonly note: CallNote },
    context: AnswerContext,
  ): Promise<Response | undefined>
  /** Of the entry that each call writes; null for none. */
  readonly activityType: string | null
  /** Path parameters if they are of the form that they should have; null otherwise. */
  soundParams(params: Readonly<Record<string, string>>): Readonly<Record<string, string>> | null
  /** True when the handler looks at the sites of the caller itself; false for a route that is not about sites. */
  readonly sitesRule: 'listed' | 'of' | null
}

export interface AnswerContext {
  readonly bodyBytesMax: number
  /** Gives the remembered answer of a request with the same key, or runs `work` and remembers its answer. */
  once(key: string, route: string, digest: string, work: (remember: Remember) => Promise<Reply>): Promise<Reply>
}

/** Whether it answers those who are not logged in. */
export function isForAnybody({ permission, login }: RouteDeclaration): boolean {
  return permission === 'none' && login !== 'required'
}

type Infer<Schema> = Schema extends TSchema ? Static<Schema> : undefined

/** `handler` may give a Response of its own, or undefined when the request has become a WebSocket. */
export function defineRoute<
  Params extends TObject | undefined = undefined,
  Query extends TObject | undefined = undefined,
  Body extends TSchema | undefined = undefined,
>(
  declaration: RouteDeclaration & {
    params?: Params
    query?: Query
    body?: Body
    /**
     * For the scope `site`, and for no other. `listed`: the handler leaves out of its answer what is at none of the
     * `caller.sites(role)`.
     */
    sites?: 'listed' | SiteRule<Call<Infer<Params>, Infer<Query>, Infer<Body>>>
  },
  handler: (
    call: Call<Infer<Params>, Infer<Query>, Infer<Body>>,
  ) => Reply | Response | undefined | Promise<Reply | Response | undefined>,
): Route {
  const paramsChecker = declaration.params && checkerFor(declaration.params, 'path')
  const queryChecker = declaration.query && checkerFor(declaration.query, 'query')
  const bodyChecker = declaration.body && checkerFor(declaration.body, 'body')
  const name = `${declaration.method} ${declaration.path}`
  const { sites, permission, ...described } = declaration
  // A route that forgot would show or do everything to whoever has the role anywhere.
  const isOfSites = permission !== 'none' && permission.scope === 'site'
  if (isOfSites !== (sites !== undefined)) {
    throw new Error(
      `${name}: a route with the scope \`site\`, and no other, says in \`sites\` where its role is asked for`,
    )
  }
  const access = declaration.access ?? (declaration.method === 'GET' ? 'read' : 'write')
  const scope = declaration.scopes === 'later' ? null : { tag: declaration.tag, access }
  return {
    ...described,
    permission,
    sitesRule: sites === undefined ? null : sites === 'listed' ? 'listed' : 'of',
    activityType: activityTypeOfRoute(declaration, access),
    soundParams(textParams) {
      if (paramsChecker === undefined) return {}
      const errors = paramsChecker.errors(readText(paramsChecker.schema as TObject, textParams))
      return errors.length === 0 ? textParams : null
    },
    async answer(request, textParams, { caller, client, requestId, note }, context) {
      requireRole(caller, permission, scope)
      const params = paramsChecker && checked(paramsChecker, readText(paramsChecker.schema as TObject, textParams))
      const query =
        queryChecker && checked(queryChecker, readText(queryChecker.schema as TObject, readQuery(request.url)))
      const json = bodyChecker && (await readJsonBody(request, context.bodyBytesMax, declaration.bodyOptional))
      const body = bodyChecker && json && (await checkedBody(bodyChecker, json.value, caller, declaration.alsoWrong))
      const who = { caller, client, requestId, activity: note }
      const call = { params, query, body, request, ...who } as Call<Infer<Params>, Infer<Query>, Infer<Body>>
      note.body = body
      if (permission !== 'none' && permission.scope === 'self') {
        requireSelf(caller, textParams.userId ?? '')
        note.by(textParams.userId ?? '')
      }
      if (permission !== 'none' && typeof sites === 'object' && caller.sites(permission.role) !== 'all') {
        if (!allowedAt(caller, permission.role, await sites.of(call))) throw sites.missing(call)
      }
      const key = declaration.idempotent === true ? request.headers.get('idempotency-key') : null
      if (key === null || json === undefined) return respond(await handler(call), note)
      // The same key for another resource, or of another caller, is another request.
      const digest = params === undefined ? json.digest() : `${json.digest()} ${JSON.stringify(params)}`
      let isRepeated = true
      const reply = await context.once(checkedKey(key), `${name} ${caller.id}`, digest, async (remember) => {
        isRepeated = false
        const reply = await handler({ ...call, remember })
        if (reply === undefined || reply instanceof Response)
          throw new Error('a route with idempotency keys gives a Reply')
        return reply
      })
      if (isRepeated) note.more({ repeated: true })
      return respond(reply, note)
    },
  }
}

function checked(checker: Checker, value: unknown): unknown {
  const errors = checker.errors(value)
  if (errors.length > 0) throw invalidInput(errors)
  return value
}

async function checkedBody(
  checker: Checker,
  value: unknown,
  caller: Caller,
  alsoWrong: RouteDeclaration['alsoWrong'],
): Promise<unknown> {
  const errors = checker.errors(value)
  if (errors.length === 0) return value
  const known = new Set(errors.map(({ pointer }) => pointer))
  const others = (await alsoWrong?.(value, caller)) ?? []
  throw invalidInput([...errors, ...others.filter(({ pointer }) => !known.has(pointer))])
}

/** Printable ASCII without quotes trouble: what fits in a header and a log line. */
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,200}$/

function checkedKey(key: string): string {
  if (IDEMPOTENCY_KEY.test(key)) return key
  const remedy = '1 to 200 printable ASCII characters without spaces, such as a UUID'
  throw new Problem('INVALID_INPUT', 'Not allowed: header Idempotency-Key.', {
    errors: [{ in: 'header', pointer: '/Idempotency-Key', value: key.slice(0, 200), remedy }],
  })
}

function respond(reply: Reply | Response | undefined, note: CallNote): Response | undefined {
  if (reply === undefined || reply instanceof Response) return reply
  note.reply = reply
  return new Response(JSON.stringify(reply.body), {
    status: reply.status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...reply.headers },
  })
}
