/**
 * What keeps the pages of other sites out. They run in browsers that can reach the API, and that may hold a login to it:
 * the Origin header tells such a page from our own, and the Host header defeats a name that was pointed at our address to
 * look like our own (DNS rebinding). Programs send neither Origin nor cookies, and are let in by what they show.
 */

import { isIP } from 'node:net'
import { BusbarError } from '../../../shared/errors.ts'
import { isLoopback } from '../../../shared/loopback.ts'
import type { Arrival } from './arrival.ts'
import { carriesCookie } from './caller.ts'
import { Problem } from './problem.ts'

export interface OriginRules {
  /** Origins besides the API's own, such as `https://console.example`. */
  readonly allowedOrigins: readonly string[]
  /** URL under which people reach the API; null when it is its own address. */
  readonly publicUrl: string | null
  /** True for a name, without port, that a request may ask for. */
  readonly knowsHost: (name: string) => boolean
}

export interface HostRules {
  /** Names besides those that are known anyway, without port. */
  readonly allowedHosts: readonly string[]
  /** Address that is listened on. */
  readonly host: string
  readonly publicUrl: string | null
  /** Whether nobody is asked to log in. */
  readonly insecure: boolean
  /** Of the certificate: true for a name that it carries. */
  readonly certifies: (name: string) => boolean
}

/**
 * Whether a request may ask for a host of this name. Where a login is asked for, addresses may always be asked for: only
 * names can be pointed at somebody else's.
 */
export function hostRule(rules: HostRules): (name: string) => boolean {
  const known = new Set(rules.allowedHosts.map((name) => name.toLowerCase()))
  if (rules.publicUrl !== null) known.add(bare(URL.parse(rules.publicUrl)?.hostname ?? ''))
  if (rules.insecure) return (name) => isLoopback(name) || known.has(name)
  known.add(bare(rules.host.toLowerCase()))
  return (name) => isLoopback(name) || known.has(name) || isIP(name) !== 0 || rules.certifies(name)
}

/** Throws API_NOT_LOOPBACK unless what listens on `host` is protected enough for who can reach it. */
export function checkListener(
  host: string,
  how: { readonly insecure: boolean; readonly tls: boolean; readonly proxies: boolean },
): void {
  if (isLoopback(host)) return
  if (how.insecure) {
    throw new BusbarError(`api.host is ${host}, and api.insecure asks nobody to log in: that is for loopback only`, {
      code: 'API_NOT_LOOPBACK',
      hint: 'Set api.host to 127.0.0.1 and reach it from elsewhere through an SSH tunnel (ssh -L), or turn api.insecure off.',
    })
  }
  if (how.tls || how.proxies) return
  throw new BusbarError(`api.host is ${host}; without TLS the API listens on loopback only`, {
    code: 'API_NOT_LOOPBACK',
    hint: 'Set api.tls.enabled, or name the proxy that ends TLS in api.trustedProxies; or set api.host to 127.0.0.1.',
  })
}

/** @throws Problem HOST_REFUSED */
export function checkHost({ host }: Arrival, { knowsHost }: OriginRules): void {
  if (host === null) return
  const name = bare(host.replace(/:[0-9]+$/, ''))
  if (knowsHost(name)) return
  throw new Problem('HOST_REFUSED', `The request asks for the host ${name}.`, {
    hint: 'Use the address that the API listens on, or add the name to api.allowedHosts, or to api.publicUrl if it is its own.',
  })
}

/** @throws Problem ORIGIN_REFUSED for a request that a page of another site may have caused. */
export function checkOrigin(request: Request, arrival: Arrival, rules: OriginRules): void {
  const source = sourceOf(request, arrival, rules)
  if (source === 'own') return
  const { headers } = request
  const changes = isChanging(request)
  // A login in a cookie is shown by the browser, whoever asked it to; one in a header is shown by who has it.
  if (carriesCookie(headers) && (source === 'other' || source === 'allowed' || changes)) throw cookieRefused(source)
  // Another site's page cannot see the answer to a plain read.
  if (source === 'other' && changes) {
    const origin = headers.get('origin')
    throw new Problem('ORIGIN_REFUSED', `The request comes from a page of ${origin ?? 'another site'}.`, {
      hint: 'Add the origin to api.allowedOrigins if it may use this API.',
    })
  }
}

/** True for an origin that is not our own and may use the API all the same. */
export function isAllowedOrigin(origin: string | null, { allowedOrigins }: OriginRules): origin is string {
  return origin !== null && allowedOrigins.includes(origin)
}

/** `unknown`: by what sends neither Origin nor Sec-Fetch-Site, which is a program, or a page that somebody has opened. */
type Source = 'own' | 'allowed' | 'other' | 'unknown'

function sourceOf({ headers }: Request, { host, secure }: Arrival, rules: OriginRules): Source {
  const origin = headers.get('origin')
  if (origin !== null) {
    if (origin === `${secure ? 'https' : 'http'}://${host}` || origin === rules.publicUrl) return 'own'
    return isAllowedOrigin(origin, rules) ? 'allowed' : 'other'
  }
  // What a browser says where it sends no Origin. Following a link shows the reader a page, and the other site nothing.
  const site = headers.get('sec-fetch-site')
  if (site === 'same-origin') return 'own'
  if (site === null || site === 'none' || headers.get('sec-fetch-mode') === 'navigate') return 'unknown'
  return 'other'
}

/** A WebSocket is more than a read: its page sees what comes. */
function isChanging({ method, headers }: Request): boolean {
  return (method !== 'GET' && method !== 'HEAD') || headers.get('upgrade') !== null
}

function cookieRefused(source: Source): Problem {
  const from = source === 'unknown' ? 'does not say which page it comes from' : 'comes from the page of another site'
  return new Problem('ORIGIN_REFUSED', `The request shows a login in a cookie, and ${from}.`, {
    hint: 'Cookies are for pages of this server. Programs and other pages send "Authorization: Bearer <token>".',
  })
}

function bare(name: string): string {
  return name.replace(/^\[(.*)\]$/, '$1')
}
