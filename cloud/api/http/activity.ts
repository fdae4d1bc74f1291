/**
 * What is recorded of a request: who asked for what, from where, and how it ended. Of bodies, queries and headers nothing gets
 * into an entry by itself but the agent and the site, so that no secret can.
 */

import { ANONYMOUS, activityTypeOf, type NewActivity, type Outcome } from '../../activity/activity.ts'
import type { Caller } from '../../identity/identity.ts'
import type { Reply, Route, RouteDeclaration } from './route.ts'

/** What a handler says about what it did, where the request alone does not tell. */
export interface ActivityNote {
  /** Who did it, of a request that shows no login, and of a local caller's. */
  by(userId: string): void
  /** The login that it was done in, where that is another than the caller's. Never a token. */
  session(id: string): void
  /** What it was done to. */
  about(objectType: string, objectId: string | number | null, siteId?: number | null): void
  /** Further members of metadata. Never a secret. */
  more(members: Readonly<Record<string, unknown>>): void
}

/** The note of one request, and what is seen of it on its way. */
export class CallNote implements ActivityNote {
  userId: string | null = null
  sessionId: string | null = null
  object: { readonly type: string; readonly id: string | null; readonly siteId: number | null } | null = null
  metadata: Readonly<Record<string, unknown>> = {}
  body: unknown
  reply: Reply | null = null

  by(userId: string): void {
    this.userId = userId
  }

  session(id: string): void {
    this.sessionId = id
  }

  about(type: string, id: string | number | null, siteId: number | null = null): void {
    this.object = { type, id: id === null ? null : String(id), siteId }
  }

  more(members: Readonly<Record<string, unknown>>): void {
    this.metadata = { ...this.metadata, ...members }
  }
}

/** What a request has come to. */
export interface AnsweredRequest {
  readonly request: Request
  readonly requestId: string
  /** Null of one that is for no route. */
  readonly route: Pick<Route, 'path' | 'operationId' | 'activityType' | 'soundParams'> | null
  readonly params: Readonly<Record<string, string>>
  readonly path: string
  readonly address: string
  /** Null where that was not asked. */
  readonly caller: Caller | null
  readonly note: CallNote
  readonly status: number
  /** Of the problem; null when there was none. */
  readonly code: string | null
}

const USER_AGENT_CHARS_MAX = 256
const PATH_CHARS_MAX = 512
/** Refused for where it came from, before anybody asked who sends it. */
const PLACE_REFUSALS = new Set(['PEER_REFUSED', 'HOST_REFUSED', 'ORIGIN_REFUSED'])

/** The type of the entry of every call of a route; null for none, unless it is refused. */
export function activityTypeOfRoute(
  { activity, operationId }: Pick<RouteDeclaration, 'activity' | 'operationId'>,
  access: 'read' | 'write',
): string | null {
  if (activity === false) return null
  return activity ?? (access === 'write' ? activityTypeOf(operationId) : null)
}

/** Each type that calls of these routes are recorded as, with what it means. */
export function recordedTypes(routes: readonly Pick<Route, 'activityType' | 'summary'>[]): ReadonlyMap<string, string> {
  return new Map(
    routes.flatMap(({ activityType, summary }) => (activityType === null ? [] : [[activityType, summary]])),
  )
}

/** The entry of a request; null when there is none to be. */
export function entryOf(answered: AnsweredRequest): NewActivity | null {
  const { request, requestId, route, path, address, caller, note, status, code } = answered
  const outcome = outcomeOf(status, code)
  const isMisplaced = code !== null && PLACE_REFUSALS.has(code)
  const ownType = isMisplaced ? null : (route?.activityType ?? null)
  if (ownType === null && outcome !== 'REFUSED') return null
  const params = route?.soundParams(answered.params) ?? null
  // What does not look like a path of ours may be anything that somebody pasted.
  const shownPath = params === null ? route?.path : path.slice(0, PATH_CHARS_MAX)
  return {
    userId: note.userId ?? (caller?.id || ANONYMOUS),
    activityType: ownType ?? 'access_refused',
    metadata: {
      ...senderOf({
        address,
        userAgent: request.headers.get('user-agent'),
        sessionId: note.sessionId ?? caller?.credentialId ?? null,
      }),
      method: request.method,
      ...(shownPath === undefined ? {} : { path: shownPath }),
      status,
      ...(route === null ? {} : { operation: route.operationId }),
      ...(code === null ? {} : { code }),
      ...changesOf(request, note.body),
      ...note.metadata,
    },
    outcome,
    ...objectOf(route?.path ?? null, params, note),
    correlationId: requestId,
  }
}

/** The entry of a frame on a WebSocket that asked for what the caller may not: for a channel, or by its type. */
export function deniedFrame(
  opened: Pick<AnsweredRequest, 'address' | 'requestId'> & {
    readonly caller: Caller
    readonly userAgent: string | null
  },
  code: string,
  asked: string | null,
): NewActivity {
  const { caller, requestId } = opened
  const ofFrame = { operation: 'openLive', code, ...(asked === null ? {} : { asked }) }
  return {
    userId: caller.id || ANONYMOUS,
    activityType: 'access_refused',
    metadata: { ...senderOf({ ...opened, sessionId: caller.credentialId }), ...ofFrame },
    outcome: 'REFUSED',
    objectType: 'websocket',
    correlationId: requestId,
  }
}

/** Members of metadata that say where a request came from; what is not known of it is left out. */
export function senderOf(sender: {
  /** Empty when it is not known. */
  readonly address: string
  readonly userAgent: string | null
  /** Id of the login or of the API key. */
  readonly sessionId: string | null
}): Readonly<Record<string, string>> {
  const { address, userAgent, sessionId } = sender
  return {
    ...(address === '' ? {} : { ipAddress: address }),
    ...(userAgent === null ? {} : { userAgent: userAgent.slice(0, USER_AGENT_CHARS_MAX) }),
    ...(sessionId === null ? {} : { sessionId }),
  }
}

/** Who has to wait after wrong passwords is refused as they were: whoever asks for failed logins finds all of them. */
function outcomeOf(status: number, code: string | null): Outcome {
  if (status < 400) return 'SUCCESS'
  return status === 401 || status === 403 || status === 421 || code === 'LOCKED_OUT' ? 'REFUSED' : 'FAILURE'
}

/** Which members were changed; not to what. */
function changesOf({ method }: Request, body: unknown): { readonly changed?: readonly string[] } {
  return method === 'PATCH' && typeof body === 'object' && body !== null ? { changed: Object.keys(body) } : {}
}

/** What it was done to: as the handler says, else what was made, else what the path names last. */
function objectOf(
  path: string | null,
  params: Readonly<Record<string, string>> | null,
  note: CallNote,
): Pick<NewActivity, 'objectType' | 'objectId' | 'siteId'> {
  const { object, reply, body } = note
  const { type, id } = object ?? made(path, reply) ?? named(path, params)
  const ownSite = type === 'site' ? siteIdOf({ siteId: Number(id) }) : null
  return {
    objectType: type ?? undefined,
    objectId: id ?? undefined,
    siteId: object?.siteId ?? siteIdOf(reply?.body) ?? siteIdOf(body) ?? ownSite ?? undefined,
  }
}

interface ObjectName {
  readonly type: string | null
  readonly id: string | null
}

/** Null when nothing was made. */
function made(path: string | null, reply: Reply | null): ObjectName | null {
  const [, collection, id] = /^\/api\/v1\/(?:.*\/)?([^/]+)\/([^/]+)$/.exec(reply?.headers?.location ?? '') ?? []
  if (collection !== undefined && id !== undefined) return { type: singular(collection), id }
  const own = memberOf(reply?.body, 'id')
  const last = path?.split('/').at(-1)
  if (reply?.status !== 201 || last === undefined || (typeof own !== 'string' && typeof own !== 'number')) return null
  return { type: singular(last), id: String(own) }
}

/** `/users/:userId/logins/:id` names a login, and `/users/:userId/logins` a user. */
function named(path: string | null, params: Readonly<Record<string, string>> | null): ObjectName {
  const [, , ...segments] = path?.startsWith(PREFIX) ? path.slice(1).split('/') : []
  const at = segments.findLastIndex((segment) => segment.startsWith(':'))
  const [first] = segments
  if (first === undefined) return { type: null, id: null }
  if (at < 1) return { type: PLACES[first] ?? singular(first), id: null }
  return { type: singular(segments[at - 1] as string), id: params?.[(segments[at] as string).slice(1)] ?? null }
}

const PREFIX = '/api/v1/'
/** What is found under the first segment of a path, where that is not called by its name. */
const PLACES: Readonly<Record<string, string>> = { auth: 'login', enrolment: 'gateway', ws: 'websocket' }

/** `alert-rules` holds each an `alert-rule`. */
function singular(collection: string): string {
  return collection.replace(/ies$/, 'y').replace(/s$/, '')
}

function siteIdOf(body: unknown): number | null {
  const siteId = memberOf(body, 'siteId') ?? memberOf(body, 'site_id')
  return Number.isSafeInteger(siteId) && (siteId as number) > 0 ? (siteId as number) : null
}

function memberOf(value: unknown, member: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[member] : undefined
}
