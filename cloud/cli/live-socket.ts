/** One connection to the live WebSocket of a core: frames out, answers and events in, until one side ends it. */

import type { Clock, Timer } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type Credentials, refuseInClear } from './credentials.ts'

/** A frame of the server. */
export interface LiveFrame {
  readonly type: string
  readonly id?: string | null
  readonly [member: string]: unknown
}

export interface LiveSocketOptions {
  /** Of the core, such as https://busbar.example. */
  readonly origin: string
  /** PEM of what the core is trusted by; absent for what the system trusts. */
  readonly ca?: string | undefined
  readonly credentials?: Credentials | undefined
  readonly clock: Clock
  /** Frames that answer nothing, in the order in which they come. */
  readonly onFrame: (frame: LiveFrame) => void
}

export interface LiveEnd {
  readonly code: number
  readonly reason: string
}

interface Asked {
  readonly resolve: (frame: LiveFrame) => void
  readonly reject: (error: Error) => void
}

export const LIVE_PATH = '/api/v1/ws'
/** A core from which nothing came for so long, pings included, is gone. */
const SILENT_MS = 15_000
/** For the handshake, and for each answer. */
const ANSWER_MS = 30_000

export class LiveSocket {
  /** How it ended; never rejects. */
  readonly closed: Promise<LiveEnd>
  private readonly options: LiveSocketOptions
  private readonly socket: WebSocket
  private readonly asked = new Map<string, Asked>()
  private frames = 0
  private heard = true
  private heartbeat: Timer | null = null

  private constructor(options: LiveSocketOptions, socket: WebSocket) {
    this.options = options
    this.socket = socket
    socket.addEventListener('message', ({ data }) => this.take(String(data)))
    socket.addEventListener('pong', () => {
      this.heard = true
    })
    this.closed = new Promise((resolve) => {
      socket.addEventListener('close', ({ code, reason }) => {
        this.heartbeat?.cancel()
        for (const { reject } of this.asked.values()) reject(lost(options.origin, reason))
        this.asked.clear()
        resolve({ code, reason })
      })
    })
  }

  /**
   * Resolves when it is open.
   * @throws BusbarError CREDENTIALS_IN_CLEAR, LIVE_UNREACHABLE for whatever keeps it from opening: only a request over HTTP
   * is told why.
   */
  static async open(options: LiveSocketOptions): Promise<LiveSocket> {
    const { origin, ca, credentials, clock } = options
    const url = new URL(LIVE_PATH, origin)
    const token = (await credentials?.token()) ?? null
    if (token !== null) refuseInClear(url)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url.href, {
      ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    })
    const live = new LiveSocket(options, socket)
    const timer = clock.after(ANSWER_MS, () => socket.terminate())
    try {
      await new Promise<void>((resolve, reject) => {
        socket.addEventListener('open', () => resolve())
        socket.addEventListener('error', (event) =>
          reject(unreachable(origin, (event as { message?: string }).message)),
        )
        socket.addEventListener('close', () => reject(unreachable(origin, 'it was closed')))
      })
    } finally {
      timer.cancel()
    }
    live.heartbeat = clock.every(SILENT_MS, () => live.beat())
    return live
  }

  /**
   * Sends a frame under an id of its own and resolves with what answers it.
   * @throws BusbarError the code of the error frame that answers it, or LIVE_LOST when the connection ends before.
   */
  async ask(frame: { readonly type: string; readonly [member: string]: unknown }): Promise<LiveFrame> {
    const { origin, clock } = this.options
    if (this.socket.readyState !== WebSocket.OPEN) throw lost(origin, '')
    const id = String(++this.frames)
    // One that answers pings and nothing else is of no use either.
    const timer = clock.after(ANSWER_MS, () => this.socket.terminate())
    try {
      return await new Promise<LiveFrame>((resolve, reject) => {
        this.asked.set(id, { resolve, reject })
        this.socket.send(JSON.stringify({ ...frame, id }))
      })
    } finally {
      timer.cancel()
    }
  }

  close(): void {
    this.socket.close(1000)
  }

  private take(text: string): void {
    this.heard = true
    const frame = parsed(text)
    if (frame === null) return
    const asked = typeof frame.id === 'string' ? this.asked.get(frame.id) : undefined
    if (asked === undefined) {
      this.options.onFrame(frame)
      return
    }
    this.asked.delete(frame.id as string)
    if (frame.type === 'error') asked.reject(refused(frame))
    else asked.resolve(frame)
  }

  private beat(): void {
    if (!this.heard) {
      this.socket.terminate()
      return
    }
    this.heard = false
    this.socket.ping()
  }
}

/** Null for what is no frame. */
function parsed(text: string): LiveFrame | null {
  try {
    const frame = JSON.parse(text) as Partial<LiveFrame> | null
    return typeof frame?.type === 'string' ? (frame as LiveFrame) : null
  } catch {
    return null
  }
}

function refused({ code, message, hint, retryAfterMs }: LiveFrame): BusbarError {
  return new BusbarError(String(message), {
    code: String(code),
    retryable: retryAfterMs !== undefined || /UNAVAILABLE$/.test(String(code)),
    ...(typeof hint === 'string' ? { hint } : {}),
  })
}

function unreachable(origin: string, why: string | undefined): BusbarError {
  return new BusbarError(`no WebSocket opens at ${origin}: ${why ?? 'the connection failed'}`, {
    code: 'LIVE_UNREACHABLE',
    retryable: true,
    hint: 'a proxy between here and the core has to let WebSockets through',
  })
}

function lost(origin: string, reason: string): BusbarError {
  return new BusbarError(`the connection to ${origin} was lost${reason === '' ? '' : `: ${reason}`}`, {
    code: 'LIVE_LOST',
    retryable: true,
    hint: 'try again',
  })
}
