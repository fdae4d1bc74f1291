/** Errors as a client sees them: RFC 9457 problem details, one shape for every answer that is not a success. */

import { type Static, Type } from '@sinclair/typebox'
import { BusbarError } from '../../../shared/errors.ts'
import { ChatError } from '../../chat/chat.ts'
import { IdentityError } from '../../identity/identity.ts'
import { AlreadyRegisteredError, InvalidRegistrationError, NotRegisteredError } from '../../registry/errors.ts'

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

const InvalidInput = Type.Object(
  {
    in: Type.Union([Type.Literal('body'), Type.Literal('query'), Type.Literal('path'), Type.Literal('header')]),
    pointer: Type.String({ description: 'JSON Pointer (RFC 6901) to the value, "" for the whole' }),
    value: Type.Optional(Type.Unknown({ description: 'What was given, shortened; absent when nothing was' })),
    remedy: Type.String({ description: 'What the value may be' }),
  },
  { additionalProperties: false },
)
export type InvalidInput = Omit<Static<typeof InvalidInput>, 'value'> & { value?: unknown }

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ format: 'uri-reference', description: 'Names the kind of problem; stable' }),
    title: Type.String({ description: 'The kind of problem in words' }),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    code: Type.String({ description: 'Upper snake case, stable; for programs to match on' }),
    detail: Type.Optional(Type.String({ description: 'What was wrong this time' })),
    hint: Type.Optional(Type.String({ description: 'The next step' })),
    instance: Type.Optional(Type.String({ format: 'uri-reference', description: 'Path of the request' })),
    errors: Type.Optional(Type.Array(InvalidInput)),
  },
  { $id: 'Problem', description: 'Problem details of RFC 9457' },
)
export type ProblemDetails = Omit<Static<typeof ProblemSchema>, 'errors'> & { errors?: readonly InvalidInput[] }

/** The kinds of problem a client can meet and their statuses. */
const KINDS = {
  BODY_MALFORMED: [400, 'The body is not JSON'],
  UNAUTHENTICATED: [401, 'Nobody is logged in'],
  FORBIDDEN: [403, 'The caller may not do this'],
  TOO_MANY_REQUESTS: [429, 'There were too many attempts'],
  HOST_REFUSED: [421, 'The request is meant for another host'],
  ORIGIN_REFUSED: [403, 'Pages of this origin may not use the API'],
  NOT_FOUND: [404, 'There is no such thing'],
  METHOD_NOT_ALLOWED: [405, 'The resource does not have this method'],
  CONFLICT: [409, 'The request does not fit the present state'],
  IDEMPOTENCY_IN_FLIGHT: [409, 'A request with this idempotency key is still under way'],
  BODY_TOO_LARGE: [413, 'The body is too large'],
  MEDIA_TYPE_UNSUPPORTED: [415, 'The body is of another media type'],
  INVALID_INPUT: [422, 'Some values are not allowed'],
  IDEMPOTENCY_KEY_REUSED: [422, 'The idempotency key was used for another request'],
  UPGRADE_REQUIRED: [426, 'This is a WebSocket endpoint'],
  INTERNAL: [500, 'The server failed'],
  UNAVAILABLE: [503, 'The server cannot answer at present'],
} as const satisfies Record<string, readonly [number, string]>

export type ProblemKind = keyof typeof KINDS

export function statusOf(kind: ProblemKind): number {
  return KINDS[kind][0]
}

export function titleOf(kind: ProblemKind): string {
  return KINDS[kind][1]
}

/** Thrown by whoever finds it; becomes the answer of the request. */
export class Problem extends BusbarError {
  readonly kind: ProblemKind
  readonly errors: readonly InvalidInput[] | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    kind: ProblemKind,
    detail: string,
    options: {
      /** When the kind says less than is known, such as DEVICE_EXISTS of the kind CONFLICT. */
      code?: string
      hint?: string | undefined
      errors?: readonly InvalidInput[]
      headers?: Record<string, string>
      cause?: unknown
    } = {},
  ) {
    super(detail, {
      code: options.code ?? kind,
      retryable: kind === 'UNAVAILABLE' || kind === 'IDEMPOTENCY_IN_FLIGHT',
      ...(options.hint === undefined ? {} : { hint: options.hint }),
      cause: options.cause,
    })
    this.name = 'Problem'
    this.kind = kind
    this.errors = options.errors
    this.headers = options.headers ?? {}
  }

  get status(): number {
    return statusOf(this.kind)
  }

  /** @param instance path of the request. */
  toDetails(instance: string): ProblemDetails {
    return {
      type: `urn:busbar:problem:${this.kind.toLowerCase().replaceAll('_', '-')}`,
      title: titleOf(this.kind),
      status: this.status,
      code: this.code,
      detail: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      instance,
      ...(this.errors === undefined ? {} : { errors: this.errors }),
    }
  }

  toResponse(instance: string): Response {
    return new Response(JSON.stringify(this.toDetails(instance)), {
      status: this.status,
      headers: { 'content-type': PROBLEM_MEDIA_TYPE, 'cache-control': 'no-store', ...this.headers },
    })
  }
}

export function notFound(what: string, id: string | number): Problem {
  return new Problem('NOT_FOUND', `There is no ${what} ${id}.`)
}

/**
 * The problem that stands for anything thrown. Errors nobody expected keep their message to the log: what a stranger
 * reads says only that it happened.
 */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof InvalidRegistrationError) {
    const errors = error.fields.map(({ field, value, remedy }) => ({
      in: PAGE_FIELDS.has(field) ? ('query' as const) : ('body' as const),
      pointer: `/${field}`,
      value,
      remedy,
    }))
    return new Problem('INVALID_INPUT', error.message, { errors, cause: error })
  }
  if (error instanceof IdentityError) {
    const headers: Record<string, string> = {}
    if (error.refusal === 'UNAUTHENTICATED') headers['www-authenticate'] = 'Bearer'
    if (error.retryAfter !== undefined) headers['retry-after'] = String(error.retryAfter)
    return new Problem(error.refusal, error.message, { code: error.code, hint: error.hint, headers, cause: error })
  }
  if (error instanceof ChatError) return chatProblem(error)
  if (error instanceof AlreadyRegisteredError) return passedOn('CONFLICT', error)
  if (error instanceof NotRegisteredError) return passedOn('NOT_FOUND', error)
  if (error instanceof BusbarError && error.retryable) {
    return new Problem('UNAVAILABLE', error.message, {
      code: error.code,
      hint: error.hint ?? 'Try again later.',
      headers: { 'retry-after': '1' },
      cause: error,
    })
  }
  return new Problem('INTERNAL', 'The request could not be answered; the log of the server says why.', { cause: error })
}

function chatProblem(error: ChatError): Problem {
  const { refusal, message, code, hint, fields, retryAfterMs } = error
  return new Problem(refusal, message, {
    ...{ code, hint, cause: error },
    ...(refusal === 'INVALID_INPUT' ? { errors: fields.map((field) => ({ in: 'body', ...field })) } : {}),
    // At least what a client may wait for: a whole second.
    ...(retryAfterMs === undefined ? {} : { headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) } }),
  })
}

/** Fields of requests for pages; all others come in bodies. */
const PAGE_FIELDS = new Set(['limit', 'cursor', 'search'])

function passedOn(kind: ProblemKind, error: BusbarError): Problem {
  return new Problem(kind, error.message, { code: error.code, hint: error.hint, cause: error })
}
