/**
 * Cross-origin requests of the pages that api.allowedOrigins names: they may send a token and read the answer. Cookies
 * stay at home: no answer allows credentials. Pages of any other origin are told nothing.
 */

import { isAllowedOrigin, type OriginRules } from './origins.ts'
import { REQUEST_ID } from './request-id.ts'

/** What a page may read besides the headers that it may always read. */
const READABLE = `location, retry-after, www-authenticate, content-disposition, ${REQUEST_ID}`
const SENDABLE = `authorization, content-type, idempotency-key, ${REQUEST_ID}`
/** How long a browser remembers the answer to its question, seconds. */
const REMEMBERED_SECONDS = 600

/** Headers for the answer to any request. */
export function corsHeaders({ headers }: Request, rules: OriginRules): Readonly<Record<string, string>> {
  if (rules.allowedOrigins.length === 0) return {}
  const origin = headers.get('origin')
  if (!isAllowedOrigin(origin, rules)) return { vary: 'origin' }
  return { vary: 'origin', 'access-control-allow-origin': origin, 'access-control-expose-headers': READABLE }
}

/**
 * The answer to a browser that asks before it sends a request; null when the request asks for nothing of the kind, or is of
 * an origin that is not allowed.
 * @param methods that the path has.
 */
export function preflightAnswer(request: Request, rules: OriginRules, methods: Iterable<string>): Response | null {
  const { method, headers } = request
  if (method !== 'OPTIONS' || headers.get('access-control-request-method') === null) return null
  if (!isAllowedOrigin(headers.get('origin'), rules)) return null
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-methods': [...methods].join(', '),
      'access-control-allow-headers': SENDABLE,
      'access-control-max-age': String(REMEMBERED_SECONDS),
    },
  })
}
