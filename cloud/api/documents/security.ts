/** How a caller shows who it is, as both documents say it. */

import { ACCESS_COOKIE, LIVE_PROTOCOL, SECURE_ACCESS_COOKIE } from '../http/caller.ts'
import type { Json } from './json-schema.ts'

type Schemes = { [name: string]: { [member: string]: Json } }

const bearer = {
  type: 'http',
  scheme: 'bearer',
  description: 'An access token, or an API key, in the Authorization header; it counts before any cookie.',
}

function cookie(name: string, when: string): { [member: string]: Json } {
  const description = `Set by the login of a page of this server, ${when}; pages of other origins cannot use it.`
  return { type: 'apiKey', in: 'cookie', name, description }
}

export const SECURITY_SCHEMES: Schemes = {
  bearer,
  cookie: cookie(SECURE_ACCESS_COOKIE, 'over TLS'),
  plainCookie: cookie(ACCESS_COOKIE, 'on loopback without TLS'),
}

/** AsyncAPI knows cookies by another name. */
export const LIVE_SECURITY_SCHEMES: Schemes = {
  ...Object.fromEntries(
    Object.entries(SECURITY_SCHEMES).map(([name, scheme]) => [
      name,
      scheme.type === 'apiKey' ? { ...scheme, type: 'httpApiKey' } : scheme,
    ]),
  ),
  subprotocol: {
    type: 'httpApiKey',
    in: 'header',
    name: 'Sec-WebSocket-Protocol',
    description:
      'For pages, which cannot set the Authorization header of a WebSocket: the subprotocols ' +
      `"${LIVE_PROTOCOL}" and "bearer.<access token or API key>", of which the first is agreed on.`,
  },
}

/** Any one of them will do. */
export function securityOf(schemes: Schemes): Json[] {
  return Object.keys(schemes).map((name) => ({ [name]: [] }))
}
