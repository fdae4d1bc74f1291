/** When a certificate is good and when it is to be renewed. Pure. */

import type { Validity } from '../../shared/certificates.ts'

export type ValidityState = 'notYetValid' | 'good' | 'due' | 'expired'

/** Of its life a certificate is used before it is renewed: this much at least, and the spread more at most. */
const RENEWED_AFTER = 2 / 3
const SPREAD = 1 / 30

/** When to renew. @param jitter in [0, 1), one for each certificate, so that a fleet does not renew in one minute. */
export function renewAtMs({ notBeforeMs, notAfterMs }: Validity, jitter: number): number {
  return notBeforeMs + (notAfterMs - notBeforeMs) * (RENEWED_AFTER + SPREAD * jitter)
}

/** How a certificate stands at a time. Before it begins the clock is more likely wrong than the certificate: it is not renewed. */
export function stateAt(validity: Validity, renewAt: number, nowMs: number): ValidityState {
  if (nowMs < validity.notBeforeMs) return 'notYetValid'
  if (nowMs > validity.notAfterMs) return 'expired'
  return nowMs >= renewAt ? 'due' : 'good'
}

/** For people: what the clock says, and from when to when the certificate is good. */
export function datesInWords({ notBeforeMs, notAfterMs }: Validity, nowMs: number): string {
  const [now, from, to] = [nowMs, notBeforeMs, notAfterMs].map((ms) => new Date(ms).toISOString())
  return `the clock says ${now}, the certificate is valid from ${from} to ${to}`
}
