/** A WebSocket client of the API that keeps what it was sent. */

import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { AnyJson } from './json-request.ts'
import { until } from './until.ts'

export interface LiveFrame {
  readonly type: string
  readonly id?: string | null
  readonly channel?: string
  readonly code?: string
  readonly count?: number
  readonly seq?: number
  readonly [member: string]: AnyJson
}

export class LiveTestClient {
  readonly frames: LiveFrame[] = []
  readonly socket: WebSocket
  closeCode: number | null = null
  closeReason = ''

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (text) => this.frames.push(JSON.parse(String(text)) as LiveFrame))
    socket.on('close', (code, reason) => {
      this.closeCode = code
      this.closeReason = String(reason)
    })
    socket.on('error', () => undefined)
  }

  /** Connected, and cut off when the current test ends. */
  static async connect(
    url: string,
    options: {
      readonly origin?: string
      readonly token?: string
      readonly headers?: Record<string, string>
      readonly protocols?: readonly string[]
    } = {},
  ): Promise<LiveTestClient> {
    const { origin, token, protocols = [] } = options
    const headers = {
      ...options.headers,
      ...(origin === undefined ? {} : { origin }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    }
    const socket = new WebSocket(url, [...protocols], { headers, rejectUnauthorized: false })
    const client = new LiveTestClient(socket)
    onTestFinished(() => socket.terminate())
    await until(() => socket.readyState !== WebSocket.CONNECTING)
    return client
  }

  get events(): LiveFrame[] {
    return this.frames.filter(({ type }) => type === 'event')
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** Sends a frame and waits for the next frame of `type`, and of the same id when it has one. */
  async ask(
    frame: { readonly id?: string; readonly [member: string]: unknown } | string,
    type: string,
  ): Promise<LiveFrame> {
    const seen = this.frames.length
    this.send(frame)
    const id = typeof frame === 'string' ? undefined : frame.id
    return await until(
      () => this.frames.slice(seen).find((got) => got.type === type && (id === undefined || got.id === id)),
      {
        what: `${type} in answer to ${JSON.stringify(frame)}; got ${JSON.stringify(this.frames.slice(seen))}`,
        timeoutMs: 5000,
      },
    )
  }
}
