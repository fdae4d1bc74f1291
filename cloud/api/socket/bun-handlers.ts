/** The WebSocket handlers of Bun itself, without a layer in between: events are many. */

import type { ServerWebSocket } from 'bun'
import type { Caller } from '../../identity/identity.ts'
import type { ApiLimits } from '../limits.ts'
import type { Hub, OnDenied } from './hub.ts'
import type { LiveClient } from './live-client.ts'

export interface SocketData {
  readonly caller: Caller
  /** Told of each frame that asks for what the caller may not. */
  readonly onDenied: OnDenied
  client: LiveClient | null
}

/** Frames up to here are read, so that one that is too large can be answered; a larger one closes the socket (1009). */
const FRAME_BYTES_READ_MIN = 1024 * 1024

export function bunHandlers(hub: Hub, limits: ApiLimits) {
  return {
    maxPayloadLength: Math.max(limits.frameBytesMax, FRAME_BYTES_READ_MIN),
    // The last resort: the hub counts and tells well before this is reached.
    backpressureLimit: limits.clientBufferBytesMax + limits.clientRepliesBytesMax,
    closeOnBackpressureLimit: false,
    idleTimeout: limits.clientIdleSeconds,
    sendPings: true,
    open(socket: ServerWebSocket<SocketData>) {
      socket.data.client = hub.open(socket, socket.data.caller, socket.data.onDenied)
    },
    message(socket: ServerWebSocket<SocketData>, text: string | Buffer) {
      if (socket.data.client !== null) void hub.message(socket.data.client, text)
    },
    pong(socket: ServerWebSocket<SocketData>, payload: Buffer) {
      // The pings that keep a connection alive carry nothing.
      if (socket.data.client !== null && payload.length > 0) hub.pong(socket.data.client, payload.toString('latin1'))
    },
    drain(socket: ServerWebSocket<SocketData>) {
      if (socket.data.client !== null) hub.drained(socket.data.client)
    },
    close(socket: ServerWebSocket<SocketData>) {
      if (socket.data.client !== null) hub.closed(socket.data.client)
    },
  }
}
