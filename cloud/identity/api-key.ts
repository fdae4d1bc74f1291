/** What an API key is: its text, its scopes, and what of its rights is left at a time. Pure. */

import { timingSafeEqual } from 'node:crypto'
import { type Random, randomBase64url, randomHex } from '../../shared/random.ts'
import { includesSite } from '../registry/site-scope.ts'
import { type Caller, callerOf } from './caller.ts'
import { type Grant, ROLES, sitesWith } from './roles.ts'
import { secretHash } from './secrets.ts'

/** A key as everybody may see it who sees that it is there: never its secret. */
export interface ApiKey {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly grants: readonly Grant[]
  /** The user who made it and answers for it. */
  readonly createdBy: string
  readonly createdAtMs: number
  readonly expiresAtMs: number | null
  /** To the minute. */
  readonly lastUsedAtMs: number | null
  readonly revokedAtMs: number | null
}

/** What every key begins with: tells it from an access token, and lets a scanner find one in a repository. */
export const API_KEY_PREFIX = 'bbk_'
const TEXT = /^bbk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/
const SECRET_BYTES = 32

/** What the name of a caller with a key begins with. No user can be called so. */
export const KEY_CALLER = 'api-key:'
export const API_KEY_ID = /^[0-9a-f]{16}$/

export interface ApiKeyText {
  readonly id: string
  readonly secret: string
}

export function newApiKeyText(random: Random): ApiKeyText {
  return { id: randomHex(random, 8), secret: randomBase64url(random, SECRET_BYTES) }
}

export function apiKeyText({ id, secret }: ApiKeyText): string {
  return `${API_KEY_PREFIX}${id}_${secret}`
}

/** Null for what is no API key. */
export function readApiKey(text: string): ApiKeyText | null {
  const [, id, secret] = TEXT.exec(text) ?? []
  return id === undefined || secret === undefined ? null : { id, secret }
}

export function secretMatches(secret: string, storedHash: string): boolean {
  const given = Buffer.from(secretHash(secret))
  const stored = Buffer.from(storedHash)
  return given.length === stored.length && timingSafeEqual(given, stored)
}

/** The scopes among `given` that no route knows. @param tags of the routes. */
export function unknownScopes(given: readonly string[], tags: ReadonlySet<string>): string[] {
  return given.filter((scope) => {
    const [, tag = '', access] = /^([^:]+):(read|write)$/.exec(scope) ?? []
    return access === undefined || !(tag === '*' || tags.has(tag))
  })
}

/** The grants among `wanted` that `caller` could not give, because it has less itself. */
export function grantsBeyond(wanted: readonly Grant[], caller: Caller): Grant[] {
  return wanted.filter(({ role, siteId }) => {
    const own = caller.sites(role)
    return siteId === 'all' ? own !== 'all' : !includesSite(own, siteId)
  })
}

/** The rights of a key that its maker has at present as well: a key is never worth more than who answers for it. */
export function sharedGrants(ofKey: readonly Grant[], ofMaker: readonly Grant[]): Grant[] {
  return ROLES.flatMap((role) => {
    const key = sitesWith(ofKey, role)
    const maker = sitesWith(ofMaker, role)
    if (key === 'all') return maker === 'all' ? [{ role, siteId: 'all' as const }] : sitesOf(role, maker)
    return sitesOf(
      role,
      [...key].filter((siteId) => includesSite(maker, siteId)),
    )
  })
}

function sitesOf(role: Grant['role'], siteIds: Iterable<number>): Grant[] {
  return [...siteIds].map((siteId) => ({ role, siteId }))
}

/** Whoever shows the key, as `grants` and `scopes` let it act. */
export function callerOfKey(id: string, scopes: readonly string[], grants: readonly Grant[]): Caller {
  return callerOf({ kind: 'api-key', id: `${KEY_CALLER}${id}`, credentialId: id, scopes: new Set(scopes) }, grants)
}
