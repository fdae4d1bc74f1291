/** Random secrets that are shown once and stored hashed: refresh tokens and one-time links. */

import { createHash } from 'node:crypto'
import { type Random, randomBase64url } from '../../shared/random.ts'

const SECRET_BYTES = 32

/** 256 random bits. The prefix says what it is, and lets a scanner find one where it does not belong. */
export function newSecret(prefix: string, random: Random): string {
  return prefix + randomBase64url(random, SECRET_BYTES)
}

/** What such a secret looks like. */
export function secretPattern(prefix: string): RegExp {
  return new RegExp(`^${prefix}[A-Za-z0-9_-]{43}$`)
}

/** What is stored, and looked up: who reads the database has no secret, and a look-up by hash tells nothing by its time. */
export function secretHash(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}
