/** From a request to who sent it: an access token or API key in the Authorization header, or the cookie of a browser. */

import { type Authentication, type Caller, IdentityError, NOBODY } from '../../identity/identity.ts'

/** The cookie that holds a browser's access token; over TLS with the prefix that ties it to this host. */
export const ACCESS_COOKIE = 'busbar_access'
export const SECURE_ACCESS_COOKIE = `__Host-${ACCESS_COOKIE}`

/** @throws IdentityError UNAUTHENTICATED */
export async function callerOfRequest(
  request: Request,
  authentication: Authentication,
  anonymous: 'allowed' | 'refused',
): Promise<Caller> {
  const credential = credentialOf(request)
  if (anonymous === 'refused') return await authentication.authenticate(credential)
  // A login page must open for a browser whose cookie is no longer good.
  try {
    return await authentication.authenticate(credential)
  } catch (error) {
    if (error instanceof IdentityError) return NOBODY
    throw error
  }
}

/** @throws IdentityError UNAUTHENTICATED for a header that holds something else. */
export function credentialOf({ headers }: Request): string | null {
  const authorization = headers.get('authorization')
  if (authorization === null)
    return cookiesOf(headers).get(SECURE_ACCESS_COOKIE) ?? cookiesOf(headers).get(ACCESS_COOKIE) ?? null
  const bearer = /^Bearer +([A-Za-z0-9._~+/=-]{1,4096})$/i.exec(authorization)
  if (bearer !== null) return bearer[1] as string
  throw new IdentityError('UNAUTHENTICATED', 'The Authorization header holds no bearer token.', {
    hint: 'Send "Authorization: Bearer <access token or API key>".',
  })
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
