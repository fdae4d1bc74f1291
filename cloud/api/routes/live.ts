/** The way from a request to a WebSocket. */

import type { Activities } from '../../activity/activity.ts'
import type { Caller } from '../../identity/identity.ts'
import { WEBSOCKET_PATH } from '../documents/asyncapi.ts'
import { deniedFrame } from '../http/activity.ts'
import { Problem } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'

/** Whose a WebSocket is to be. */
export interface NewSocket {
  readonly caller: Caller
  /** Of the request that it came of, for the answer. */
  readonly requestId: string
  /** To be told of each frame that asks for what the caller may not. */
  readonly onDenied: (code: string, asked: string | null) => void
}

export interface LiveRouteOptions {
  /** True when another client is one too many. */
  readonly full: () => boolean
  /** True when another client is one too many for this caller. */
  readonly fullFor: (caller: Caller) => boolean
  /** Makes the request a WebSocket; false when it is no proper handshake. */
  readonly upgrade: (request: Request, socket: NewSocket) => boolean
  /** Where it is recorded what a socket asked for and may not; without it that is not. */
  readonly activities: Activities | undefined
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
    ({ request, caller, client, requestId }) => {
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
      const opened = { caller, address: client.address, userAgent: request.headers.get('user-agent'), requestId }
      const onDenied = (code: string, asked: string | null): void =>
        void options.activities?.record(deniedFrame(opened, code, asked))
      if (!options.upgrade(request, { caller, requestId, onDenied })) throw upgradeRequired()
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
