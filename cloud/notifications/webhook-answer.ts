/** What the answer of a webhook means: that it has the notification, that it is out of order, or that it does not want this one. */

/** However long a webhook asks us to wait, we ask again after this. Milliseconds. */
export const RETRY_AFTER_MAX_MS = 900_000

export type Answer =
  | { readonly kind: 'delivered' }
  /** The fault is the webhook's, and any other notification would meet it too. */
  | { readonly kind: 'away'; readonly why: string; readonly retryAfterMs: number }
  /** The fault is the notification's. */
  | { readonly kind: 'refused'; readonly why: string }

const REQUEST_TIMEOUT = 408
const TOO_MANY_REQUESTS = 429

/** @param nowMs Unix milliseconds, against which a date in Retry-After is taken. */
export function judge(status: number, retryAfter: string | null, nowMs: number): Answer {
  if (status >= 200 && status < 300) return { kind: 'delivered' }
  const why = `answers with status ${status}`
  if (status >= 400 && status < 500 && status !== REQUEST_TIMEOUT && status !== TOO_MANY_REQUESTS) {
    return { kind: 'refused', why }
  }
  // A redirect is not followed: the body is signed for whoever the operator named, and nobody else may read it.
  const redirect = status >= 300 && status < 400
  return {
    kind: 'away',
    why: redirect ? `${why}, a redirect, which is not followed` : why,
    retryAfterMs: retryAfterMs(retryAfter, nowMs),
  }
}

/** Seconds or an HTTP date [RFC 9110, 10.2.3]; 0 for none. */
function retryAfterMs(text: string | null, nowMs: number): number {
  if (text === null) return 0
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1_000 : Date.parse(text) - nowMs
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS)
}
