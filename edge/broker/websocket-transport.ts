/** MQTT over WebSocket: binary messages, whose borders mean nothing [MQTT-6.0.0-2]. */

import type { WebSocket } from 'ws'
import type { Transport, TransportEvents } from './transport.ts'

/** 1003: the data cannot be accepted (RFC 6455, 7.4.1). */
const UNSUPPORTED_DATA = 1003

export class WebSocketTransport implements Transport {
  readonly kind = 'websocket'
  readonly remoteAddress: string
  readonly certificateSubject: string | null
  fault: 'text-frame' | 'frame-too-large' | null = null
  private readonly webSocket: WebSocket
  private drained: () => void = () => undefined

  constructor(webSocket: WebSocket, remoteAddress: string, certificateSubject: string | null) {
    this.webSocket = webSocket
    this.remoteAddress = remoteAddress
    this.certificateSubject = certificateSubject
  }

  get unreadBytes(): number {
    return this.webSocket.bufferedAmount
  }

  open(events: TransportEvents): void {
    const { webSocket } = this
    this.drained = () => events.drained()
    webSocket.on('message', (message: Buffer, isBinary: boolean) => {
      if (isBinary) return events.received(message)
      // [MQTT-6.0.0-1]: a text frame closes the connection.
      this.fault = 'text-frame'
      webSocket.close(UNSUPPORTED_DATA)
    })
    webSocket.on('error', (error: Error) => {
      if (/payload/i.test(error.message)) this.fault = 'frame-too-large'
      webSocket.terminate()
    })
    webSocket.once('close', () => events.closed())
  }

  write(bytes: Uint8Array): void {
    if (this.webSocket.readyState !== this.webSocket.OPEN) return
    this.webSocket.send(bytes, { binary: true }, () => {
      if (this.webSocket.bufferedAmount === 0) this.drained()
    })
  }

  pause(): void {
    this.webSocket.pause()
  }

  resume(): void {
    this.webSocket.resume()
  }

  end(): void {
    this.webSocket.close(1000)
  }

  destroy(): void {
    this.webSocket.terminate()
  }
}
