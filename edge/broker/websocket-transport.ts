/** MQTT over WebSocket: binary messages, whose borders mean nothing [MQTT-6.0.0-2]. */

import type { Socket } from 'node:net'
import type { Visit } from './gate.ts'
import type { Transport, TransportEvents } from './transport.ts'
import { binaryFrame, CLOSE, closeFrame, pongFrame, WebSocketReader } from './websocket-frames.ts'

/** With more than this unread, a client's pings are not answered: it reads no answers. Bytes. */
const UNREAD_PONG_MAX = 16 * 1024

export class WebSocketTransport implements Transport {
  readonly kind = 'websocket'
  readonly remoteAddress: string
  readonly visit: Visit
  /** Clients are not asked for one here. */
  readonly certificate = null
  fault: 'text-frame' | 'malformed-packet' | null = null
  private readonly socket: Socket
  private readonly rest: Buffer
  private saidClose = false

  /** @param rest what the client sent right behind its request. */
  constructor(socket: Socket, visit: Visit, rest: Buffer) {
    this.socket = socket
    this.visit = visit
    this.rest = rest
    this.remoteAddress = `${socket.remoteAddress}:${socket.remotePort}`
  }

  get unreadBytes(): number {
    return this.socket.writableLength
  }

  open(events: TransportEvents): void {
    const { socket } = this
    let pieces: Buffer[] = []
    const reader = new WebSocketReader({
      data: (bytes) => void pieces.push(bytes),
      ping: (payload) => {
        if (socket.writable && socket.writableLength <= UNREAD_PONG_MAX) socket.write(pongFrame(payload))
      },
      closed: () => this.close(CLOSE.normal),
      violation: (code) => {
        // [MQTT-6.0.0-1]: a text frame closes the connection.
        this.fault = code === CLOSE.unsupportedData ? 'text-frame' : 'malformed-packet'
        this.close(code)
      },
    })
    const take = (chunk: Buffer): void => {
      if (this.saidClose) return
      reader.push(chunk)
      // In one piece, however many frames it came in.
      const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
      pieces = []
      if (bytes.length > 0) events.received(bytes)
      // Both sides have said so, or nothing more can be followed.
      if (reader.isOver) socket.destroySoon()
    }
    socket.on('data', take)
    socket.on('drain', () => events.drained())
    socket.once('close', () => events.closed())
    if (this.rest.length > 0) take(this.rest)
  }

  write(bytes: Uint8Array): void {
    if (this.socket.writable && !this.saidClose) this.socket.write(binaryFrame(bytes))
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  end(): void {
    this.close(CLOSE.normal)
  }

  destroy(): void {
    this.socket.destroy()
  }

  private close(code: number): void {
    if (this.saidClose) return
    this.saidClose = true
    this.socket.end(closeFrame(code))
    // What the client still sends is read and dropped: a close with unread input would reset the connection.
    this.socket.resume()
  }
}
