/** The way from a request to a WebSocket. */

import type { Caller } from '../../identity/identity.ts'
import { WEBSOCKET_PATH } from '../documents/asyncapi.ts'
import { Problem } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'

export interface LiveRouteOptions {
  /** True when another client is one too many. */
  readonly full: () => boolean
  /** True when another client is one too many for this caller. */
  readonly fullFor: (caller: Caller) => boolean
  /** Makes the request a WebSocket of the caller, with its id in the answer; false when it is no proper handshake. */
  readonly upgrade: (request: Request, caller: Caller, requestId: string) => boolean
}

export function liveRoute(options: LiveRouteOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: WEBSOCKET_PATH,
      operationId: 'openLive',
      tag: 'live',
      summary: 'WebSocket with the live channels',
      description:
        'The frames are described in /asyncapi.json. Each channel has a permission of its own besides this one, and asks an ' +
        'API key for a scope. The socket is closed with 4401 when the login ends.',
      permission: { role: 'viewer', scope: 'site' },
      sites: 'listed',
      responses: { 101: { description: 'The connection is a WebSocket now' } },
      scopes: 'later',
      activity: 'websocket_connect',
      problems: ['ORIGIN_REFUSED', 'UPGRADE_REQUIRED', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'],
    },
    ({ request, caller, requestId }) => {
      if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') throw upgradeRequired()
      if (options.full()) {
        throw new Problem('UNAVAILABLE', 'As many WebSocket clients as are allowed are connected.', {
          code: 'CLIENTS_MAX',
          hint: 'Close some, or raise websocket.socketsMax.',
          headers: { 'retry-after': '5' },
        })
      }
      if (options.fullFor(caller)) {
        throw new Problem('TOO_MANY_REQUESTS', 'The caller has as many WebSocket clients as one may have.', {
          code: 'CALLER_CLIENTS_MAX',
          hint: 'Close some, use one for several channels, or raise websocket.socketsPerCallerMax.',
          headers: { 'retry-after': '5' },
        })
      }
      if (!options.upgrade(request, caller, requestId)) throw upgradeRequired()
      return undefined
    },
  )
}

function upgradeRequired(): Problem {
  return new Problem('UPGRADE_REQUIRED', 'The request is no WebSocket handshake.', {
    hint: 'Connect with a WebSocket client (RFC 6455, version 13).',
    headers: { upgrade: 'websocket', connection: 'Upgrade' },
  })
}
