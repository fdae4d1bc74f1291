/**
 * A login that is under way at the identity provider: what must come back unchanged in the same browser. It is kept there, in
 * a cookie that only a core can read or make, so that whichever core the browser comes back to can end it.
 */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type Random, randomBase64url } from '../../shared/random.ts'
import type { MasterKey } from './master-key.ts'

export interface OidcAttempt {
  readonly state: string
  readonly nonce: string
  /** Of PKCE. */
  readonly verifier: string
  /** The path to show afterwards. */
  readonly returnTo: string
  readonly begunAtMs: number
}

/** How long somebody may take at the identity provider. */
export const ATTEMPT_MS_MAX = 600_000
const RETURN_TO_CHARS_MAX = 1_000
const SECRET_BYTES = 32

export type Sealing = Pick<MasterKey, 'seal' | 'open'>

export function newAttempt(returnTo: string | null, { clock, random }: { clock: Clock; random: Random }): OidcAttempt {
  const secret = () => randomBase64url(random, SECRET_BYTES)
  const begunAtMs = clock.wallMs()
  return { state: secret(), nonce: secret(), verifier: secret(), returnTo: ownPath(returnTo) ?? '/docs', begunAtMs }
}

export function sealAttempt(attempt: OidcAttempt, sealing: Sealing): string {
  return sealing.seal('oidc-state', JSON.stringify(attempt))
}

/** Null for what no core with our key sealed, and for an attempt that is too old. */
export function openAttempt(sealed: string | null, sealing: Sealing, clock: Clock): OidcAttempt | null {
  if (sealed === null) return null
  let text: string
  try {
    text = sealing.open('oidc-state', sealed)
  } catch (error) {
    if (error instanceof BusbarError) return null
    throw error
  }
  const attempt = JSON.parse(text) as OidcAttempt
  const ageMs = clock.wallMs() - attempt.begunAtMs
  return ageMs <= ATTEMPT_MS_MAX ? attempt : null
}

/** A path of ours; null for what would lead a browser elsewhere. */
function ownPath(given: string | null): string | null {
  if (given === null || given.length > RETURN_TO_CHARS_MAX || !/^\/(?![/\\])[\x21-\x7e]*$/.test(given)) return null
  const base = 'http://here.invalid'
  const url = URL.canParse(given, base) ? new URL(given, base) : null
  // Dots within may have stood for nothing: what is left of /.//evil.example names a host.
  if (url?.origin !== base || url.pathname.startsWith('//')) return null
  return `${url.pathname}${url.search}`
}
