/** From a request to who sent it: an access token or API key in the Authorization header, or the cookie of a browser. */

import { type Authentication, type Caller, IdentityError, NOBODY } from '../../identity/identity.ts'

/** The cookie that holds a browser's access token; over TLS with the prefix that ties it to this host. */
export const ACCESS_COOKIE = 'busbar_access'
export const SECURE_ACCESS_COOKIE = `__Host-${ACCESS_COOKIE}`
/** How the name of every cookie begins that shows a login. */
const OUR_COOKIES = /^(__Host-|__Secure-)?busbar_/

/**
 * A page of another origin that opens a WebSocket has no way to send a header but the one that names subprotocols:
 * `new WebSocket(url, ['busbar', 'bearer.<token>'])`. The first of the two is the one that is agreed on.
 */
export const LIVE_PROTOCOL = 'busbar'
const TOKEN_PROTOCOL = 'bearer.'

/**
 * @param secure whether the request came over TLS.
 * @throws IdentityError UNAUTHENTICATED
 */
export async function callerOfRequest(
  request: Request,
  secure: boolean,
  authentication: Authentication,
  anonymous: 'allowed' | 'refused',
): Promise<Caller> {
  try {
    return await authentication.authenticate(credentialOf(request, secure))
  } catch (error) {
    // A login page must open for a browser whose cookie is no longer good, and a probe be answered without a database.
    if (anonymous === 'allowed' && (error instanceof IdentityError || request.method === 'GET')) return NOBODY
    throw error
  }
}

/** @throws IdentityError UNAUTHENTICATED for a header that holds something else. */
export function credentialOf({ headers }: Request, secure: boolean): string | null {
  const authorization = headers.get('authorization')
  if (authorization === null) return protocolToken(headers) ?? cookieToken(headers, secure)
  const bearer = /^Bearer +([A-Za-z0-9._~+/=-]{1,4096})$/i.exec(authorization)
  if (bearer !== null) return bearer[1] as string
  throw new IdentityError('UNAUTHENTICATED', 'The Authorization header holds no bearer token.', {
    hint: 'Send "Authorization: Bearer <access token or API key>".',
  })
}

/** True when the request shows a login only because a browser keeps it. */
export function carriesCookie(headers: Headers): boolean {
  if (headers.get('authorization') !== null || protocolToken(headers) !== null) return false
  return [...cookiesOf(headers).keys()].some((name) => OUR_COOKIES.test(name))
}

/** The subprotocol to agree on; null when the client asks for none that we have. */
export function liveProtocolOf(headers: Headers): string | null {
  return protocolsOf(headers).includes(LIVE_PROTOCOL) ? LIVE_PROTOCOL : null
}

/** The cookies of a request by name; of a name that comes twice the first. */
export function cookiesOf(headers: Headers): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>()
  for (const pair of (headers.get('cookie') ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at < 0) continue
    const name = pair.slice(0, at).trim()
    if (!cookies.has(name)) cookies.set(name, pair.slice(at + 1).trim())
  }
  return cookies
}

function cookieToken(headers: Headers, secure: boolean): string | null {
  const cookies = cookiesOf(headers)
  // Over TLS the other one may have been planted by whoever came between without, or by another host of the domain.
  return cookies.get(SECURE_ACCESS_COOKIE) ?? (secure ? null : (cookies.get(ACCESS_COOKIE) ?? null))
}

function protocolToken(headers: Headers): string | null {
  if (headers.get('upgrade') === null) return null
  const token = protocolsOf(headers).find((protocol) => protocol.startsWith(TOKEN_PROTOCOL))
  return token === undefined ? null : token.slice(TOKEN_PROTOCOL.length)
}

function protocolsOf(headers: Headers): string[] {
  return (headers.get('sec-websocket-protocol') ?? '').split(',').map((each) => each.trim())
}
