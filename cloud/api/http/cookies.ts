/**
 * The cookies of a browser's login. No script reads them and no other site's page sends them; over TLS their names say that only
 * this host may have set them.
 */

import type { LoginTokens } from '../../identity/identity.ts'
import { ACCESS_COOKIE, cookiesOf, SECURE_ACCESS_COOKIE } from './caller.ts'
import type { Client } from './route.ts'

const REFRESH_COOKIE = 'busbar_refresh'
/** A cookie with the prefix __Host- goes to every path; this one goes to few, so it has the other prefix. */
const SECURE_REFRESH_COOKIE = `__Secure-${REFRESH_COOKIE}`
/** Where the refresh token is of use. */
const REFRESH_PATH = '/api/v1/auth'

/** The refresh token of a browser; null for none. Over TLS one that came by another way is none. */
export function refreshCookie({ headers }: Request, { secure }: Client): string | null {
  return cookiesOf(headers).get(secure ? SECURE_REFRESH_COOKIE : REFRESH_COOKIE) ?? null
}

/** Values of Set-Cookie headers. @param nowMs Unix milliseconds. */
export function loginCookies(tokens: LoginTokens, { secure }: Client, nowMs: number): string[] {
  return [
    cookie(secure, accessPlace(secure), tokens.accessToken, tokens.expiresAtMs - nowMs),
    cookie(secure, refreshPlace(secure), tokens.refreshToken, tokens.refreshExpiresAtMs - nowMs),
  ]
}

/** Values of Set-Cookie headers by which a browser forgets its login. */
export function noCookies({ secure }: Client): string[] {
  return [cookie(secure, accessPlace(secure), '', 0), cookie(secure, refreshPlace(secure), '', 0)]
}

interface Place {
  readonly name: string
  readonly path: string
}

function accessPlace(secure: boolean): Place {
  return { name: secure ? SECURE_ACCESS_COOKIE : ACCESS_COOKIE, path: '/' }
}

function refreshPlace(secure: boolean): Place {
  return { name: secure ? SECURE_REFRESH_COOKIE : REFRESH_COOKIE, path: REFRESH_PATH }
}

function cookie(secure: boolean, { name, path }: Place, value: string, lifetimeMs: number): string {
  const seconds = Math.max(0, Math.floor(lifetimeMs / 1000))
  return `${name}=${value}; Path=${path}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}
