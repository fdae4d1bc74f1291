/**
 * Who may talk to an API that knows no users yet. It listens on loopback, but a web page of any site runs in a browser
 * on the same machine: the Origin header tells such a page from our own, and the Host header defeats a name that was
 * pointed at 127.0.0.1 to look like our own (DNS rebinding). Programs send no Origin and are let in.
 */

import { BusbarError } from '../../../shared/errors.ts'
import { isLoopback } from '../../../shared/loopback.ts'
import { Problem } from './problem.ts'

export interface OriginRules {
  /** Origins besides the API's own, such as `https://console.example`. */
  readonly allowedOrigins: readonly string[]
  /** Names besides loopback ones under which a proxy on this machine asks, without port. */
  readonly allowedHosts: readonly string[]
}

/** Throws API_NOT_LOOPBACK unless only this machine can reach `host`. */
export function refusePublicAddress(host: string): void {
  if (isLoopback(host)) return
  throw new BusbarError(`api.host is ${host}; the API has no users to check yet, so it listens on loopback only`, {
    code: 'API_NOT_LOOPBACK',
    hint: 'Set api.host to 127.0.0.1 and reach it from elsewhere through an SSH tunnel (ssh -L).',
  })
}

/** Throws HOST_REFUSED or ORIGIN_REFUSED for a request that a page of another site may have caused. */
export function checkOrigin(request: Request, rules: OriginRules): void {
  const host = request.headers.get('host')
  if (host !== null) {
    const name = host.replace(/:[0-9]+$/, '')
    if (!isLoopback(name) && !rules.allowedHosts.includes(name)) {
      throw new Problem('HOST_REFUSED', `The request asks for the host ${name}.`, {
        hint: 'Use 127.0.0.1 or localhost, or add the name to api.allowedHosts.',
      })
    }
  }
  // A browser sends no Origin with a plain read, and another site's page cannot see the answer to one.
  const origin = request.headers.get('origin')
  if (origin === null || origin === `http://${host}` || rules.allowedOrigins.includes(origin)) return
  if (request.method === 'GET' && request.headers.get('upgrade') === null) return
  throw new Problem('ORIGIN_REFUSED', `The request comes from a page of ${origin}.`, {
    hint: 'Add the origin to api.allowedOrigins if it may use this API.',
  })
}
