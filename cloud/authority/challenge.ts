/**
 * Challenges that whoever wants to renew an expired certificate signs. They are kept nowhere: a challenge is its own proof that
 * a core of this cloud made it, for this purpose, and when. A second use within its time brings nothing new, since the request
 * that is signed with it names the key, and the same key gets the same certificate.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import { type Random, randomBase64url } from '../../shared/random.ts'
import type { MasterKey } from '../identity/identity.ts'

/** How long a challenge is good. */
export const CHALLENGE_MS = 300_000
const PURPOSE = 'busbar-renewal'
const NONCE_BYTES = 16

export interface ChallengeOptions {
  readonly masterKey: () => Pick<MasterKey, 'derive'>
  readonly clock: Clock
  readonly random: Random
}

export class Challenges {
  private readonly options: ChallengeOptions

  constructor(options: ChallengeOptions) {
    this.options = options
  }

  make(): string {
    const { clock, random, masterKey } = this.options
    const until = Math.round(clock.wallMs() + CHALLENGE_MS)
    const text = `${until}.${randomBase64url(random, NONCE_BYTES)}`
    return `${text}.${tagOf(masterKey().derive('challenge')[0].secret, text)}`
  }

  /** True for one that a core with the same master key made, and whose time has not passed. */
  isGood(challenge: string): boolean {
    const match = /^((\d{13,16})\.[A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/.exec(challenge)
    if (match === null) return false
    const [, text = '', until = '', tag = ''] = match
    const { clock, masterKey } = this.options
    const nowMs = clock.wallMs()
    if (Number(until) <= nowMs || Number(until) > nowMs + 2 * CHALLENGE_MS) return false
    return masterKey()
      .derive('challenge')
      .some(({ secret }) => timingSafeEqual(Buffer.from(tagOf(secret, text)), Buffer.from(tag)))
  }
}

function tagOf(secret: Uint8Array, text: string): string {
  return createHmac('sha256', secret).update(`${PURPOSE}\n${text}`).digest('base64url')
}
