/** Randomness as a parameter, so that a simulation replays from its seed. */

import { randomBytes } from 'node:crypto'

export interface Random {
  /** Uniform in [0, 1). */
  fraction(): number
  /** `length` unpredictable bytes. */
  bytes(length: number): Uint8Array
}

export const systemRandom: Random = {
  fraction: () => Math.random(),
  bytes: (length) => randomBytes(length),
}

/** Lower-case hexadecimal of `byteLength` random bytes: 24 hex digits for a task id need 12 bytes. */
export function randomHex(random: Random, byteLength: number): string {
  return Buffer.from(random.bytes(byteLength)).toString('hex')
}

/** `byteLength` random bytes as base64url: 43 characters for the 256 bits of a secret. */
export function randomBase64url(random: Random, byteLength: number): string {
  return Buffer.from(random.bytes(byteLength)).toString('base64url')
}
