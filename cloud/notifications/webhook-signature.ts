/**
 * The signature of a posted notification, by the scheme of Standard Webhooks (standardwebhooks.com, version 1): whoever
 * has the secret can tell that we posted these bytes, and when.
 */

import { createHmac } from 'node:crypto'

/** Marks a secret in the notation of Standard Webhooks, whose key is in base64. */
const ENCODED_SECRET_PREFIX = 'whsec_'

/** The key of a secret: what the base64 after `whsec_` says, or the secret's own bytes in UTF-8. */
export function signingKey(secret: string): Uint8Array {
  if (!secret.startsWith(ENCODED_SECRET_PREFIX)) return Buffer.from(secret)
  return Buffer.from(secret.slice(ENCODED_SECRET_PREFIX.length), 'base64')
}

export interface Signable {
  /** The same whenever it is posted, so that a receiver can drop what it has. Without spaces. */
  readonly id: string
  readonly body: string
}

/** The headers that go with `body`; `atMs` is the time of this attempt, Unix milliseconds. */
export function signatureHeaders({ id, body }: Signable, atMs: number, key: Uint8Array): Record<string, string> {
  const seconds = Math.floor(atMs / 1000)
  const digest = createHmac('sha256', key).update(`${id}.${seconds}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': String(seconds), 'webhook-signature': `v1,${digest}` }
}
