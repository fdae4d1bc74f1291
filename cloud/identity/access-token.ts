/**
 * Access tokens: a JWT (RFC 7519) that says who logged in, and nothing of what they may do, which is looked up. One algorithm,
 * one issuer and one audience are taken; what a token says of itself changes none of that (RFC 8725).
 */

import { errors, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../../shared/clock.ts'
import type { DerivedKey } from './master-key.ts'

export interface AccessClaims {
  readonly userId: string
  /** Of the login. */
  readonly loginId: string
}

/** Why a token is none: it is over, or nobody here made it. */
export type TokenRefusal = 'expired' | 'forged' | 'malformed'

const ALGORITHM = 'HS256'
const ISSUER = 'busbar'
const AUDIENCE = 'busbar-api'
/** Clocks of two cores may differ by so much, seconds. */
const CLOCK_TOLERANCE_S = 5

export class AccessTokens {
  private readonly keys: readonly [DerivedKey, ...DerivedKey[]]
  private readonly clock: Clock

  /** @param keys the first signs, all are taken. */
  constructor(keys: readonly [DerivedKey, ...DerivedKey[]], clock: Clock) {
    this.keys = keys
    this.clock = clock
  }

  /** @param expiresAtMs a whole second: a token says no more. */
  async issue({ userId, loginId }: AccessClaims, expiresAtMs: number): Promise<string> {
    const [key] = this.keys
    return await new SignJWT({ sid: loginId })
      .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT', kid: key.id })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(userId)
      .setIssuedAt(Math.floor(this.clock.wallMs() / 1000))
      .setExpirationTime(Math.floor(expiresAtMs / 1000))
      .sign(key.secret)
  }

  async verify(token: string): Promise<AccessClaims | TokenRefusal> {
    try {
      const { payload } = await jwtVerify(token, ({ kid }) => this.keyOf(kid), {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ['sub', 'sid', 'iat', 'exp'],
        currentDate: new Date(this.clock.wallMs()),
        clockTolerance: CLOCK_TOLERANCE_S,
      })
      const { sub, sid } = payload
      return typeof sub === 'string' && typeof sid === 'string' ? { userId: sub, loginId: sid } : 'forged'
    } catch (error) {
      if (error instanceof errors.JWTExpired) return 'expired'
      if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) return 'malformed'
      if (error instanceof errors.JOSEError || error instanceof UnknownKeyError) return 'forged'
      throw error
    }
  }

  private keyOf(kid: string | undefined): Uint8Array {
    const key = this.keys.find(({ id }) => id === kid)
    if (key === undefined) throw new UnknownKeyError()
    return key.secret
  }
}

class UnknownKeyError extends Error {}
