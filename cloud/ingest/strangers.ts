/**
 * Connections on which no gateway has introduced itself: half open, in the middle of a handshake, without a stream, or with one
 * that was refused. There may be so many of them and each for so long; at the limit the oldest goes, since who means it is through
 * in a moment, and so nobody keeps gateways out by holding connections. Whoever says Hello has shown a certificate and is no
 * stranger any more: were those to go who wait for a slow database, a fleet that dials all at once would never get in.
 */

import type { Clock, Timer } from '../../shared/clock.ts'

export type Dismissal = 'timeout' | 'limit'

/** The part of a socket that matters here. */
export interface StrangerSocket {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  destroy(): unknown
  once(event: 'close', listener: () => void): unknown
}

export interface StrangersOptions {
  /** At one time. */
  readonly max: number
  /** How long one may stay so, milliseconds. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly onDismissed: (why: Dismissal) => void
}

/** Looks in one time-out. */
const LOOKS = 4

export class Strangers {
  private readonly options: StrangersOptions
  private readonly sockets = new Map<string, StrangerSocket>()
  /** In the order in which they became strangers. */
  private readonly since = new Map<string, number>()
  /** Streams with a Hello, on connections that have any. */
  private readonly streams = new Map<string, number>()
  private timer: Timer | null = null

  constructor(options: StrangersOptions) {
    this.options = options
  }

  start(): void {
    const { clock, timeoutMs } = this.options
    this.timer ??= clock.every(timeoutMs / LOOKS, () => this.look())
  }

  stop(): void {
    this.timer?.cancel()
    this.timer = null
  }

  get count(): number {
    return this.since.size
  }

  arrived(socket: StrangerSocket): void {
    const peer = peerOf(socket)
    this.sockets.set(peer, socket)
    socket.once('close', () => {
      // A new connection may have the same port by now.
      if (this.sockets.get(peer) !== socket) return
      this.sockets.delete(peer)
      this.since.delete(peer)
    })
    this.add(peer)
  }

  /** A gateway said Hello on it. @param peer `address:port`, as gRPC names it. */
  introduced(peer: string): void {
    this.since.delete(peer)
    this.streams.set(peer, (this.streams.get(peer) ?? 0) + 1)
  }

  /** A stream with a Hello on it has ended; another one may follow. */
  left(peer: string): void {
    const streams = (this.streams.get(peer) ?? 0) - 1
    if (streams > 0) this.streams.set(peer, streams)
    else {
      this.streams.delete(peer)
      if (this.sockets.has(peer)) this.add(peer)
    }
  }

  private add(peer: string): void {
    const { max, clock } = this.options
    this.since.delete(peer)
    this.since.set(peer, clock.monotonicMs())
    if (this.since.size <= max) return
    const [oldest] = this.since.keys()
    if (oldest !== undefined) this.dismiss(oldest, 'limit')
  }

  private look(): void {
    const { clock, timeoutMs } = this.options
    const before = clock.monotonicMs() - timeoutMs
    for (const [peer, sinceMs] of this.since) {
      if (sinceMs > before) return
      this.dismiss(peer, 'timeout')
    }
  }

  private dismiss(peer: string, why: Dismissal): void {
    this.since.delete(peer)
    this.options.onDismissed(why)
    this.sockets.get(peer)?.destroy()
  }
}

function peerOf({ remoteAddress, remotePort }: StrangerSocket): string {
  return `${remoteAddress}:${remotePort}`
}

/** The address in what gRPC calls a peer. */
export function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, '').replace(/^::ffff:/, '')
}
