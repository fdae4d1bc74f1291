/** One client's byte stream, whatever it came over. */

import type { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Visit } from './gate.ts'

export const LISTENER_KINDS = ['tcp', 'tls', 'websocket'] as const
export type ListenerKind = (typeof LISTENER_KINDS)[number]

/** What a transport tells whoever reads it. */
export interface TransportEvents {
  received(chunk: Buffer): void
  /** Everything written has left; after a time with `unreadBytes` above zero. */
  drained(): void
  /** Once; nothing follows it. */
  closed(): void
}

export interface Transport {
  readonly kind: ListenerKind
  /** With the port. */
  readonly remoteAddress: string
  readonly visit: Visit
  /** That the client showed, with its key; whether it counts is another matter. */
  readonly certificate: X509Certificate | null
  /** Bytes written that have not left this process. */
  readonly unreadBytes: number
  /** Why the transport itself gave up on the client, if it did. */
  readonly fault: 'text-frame' | 'malformed-packet' | null
  /** Must be called once, before anything is received. */
  open(events: TransportEvents): void
  write(bytes: Uint8Array): void
  pause(): void
  resume(): void
  /** Sends what is written, then closes. */
  end(): void
  /** Closes at once. */
  destroy(): void
}

/** A TCP or TLS socket. */
export class SocketTransport implements Transport {
  readonly kind: ListenerKind
  readonly remoteAddress: string
  readonly visit: Visit
  readonly certificate: X509Certificate | null
  readonly fault = null
  private readonly socket: Socket

  constructor(kind: 'tcp' | 'tls', socket: Socket, visit: Visit, certificate: X509Certificate | null) {
    this.kind = kind
    this.socket = socket
    this.remoteAddress = `${socket.remoteAddress}:${socket.remotePort}`
    this.visit = visit
    this.certificate = certificate
  }

  get unreadBytes(): number {
    return this.socket.writableLength
  }

  open(events: TransportEvents): void {
    this.socket.on('data', (chunk: Buffer) => events.received(chunk))
    this.socket.on('drain', () => events.drained())
    this.socket.once('close', () => events.closed())
    // A reset is an ordinary end of a connection; 'close' follows.
    this.socket.on('error', () => this.socket.destroy())
  }

  write(bytes: Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  end(): void {
    this.socket.end()
    // What the client still sends is read and dropped: a close with unread input would reset the connection, and the
    // client might lose what was just written to it.
    this.socket.resume()
  }

  destroy(): void {
    this.socket.destroy()
  }
}
