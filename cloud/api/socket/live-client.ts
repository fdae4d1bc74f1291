/** One connected WebSocket client: its subscriptions, what is on the way to it, and the end of it. */

import type { Caller, Role } from '../../identity/identity.ts'
import type { ApiLimits } from '../limits.ts'
import { CHANNELS, type Channel } from './channels.ts'
import type { Filter } from './filter.ts'
import { Outflow } from './outflow.ts'
import type { Placement } from './subscription-index.ts'
import type { Viewer } from './visibility.ts'

/** What is used of Bun's ServerWebSocket. */
export interface LiveSocket {
  /** Bytes sent, -1 when they wait, 0 when the frame was dropped. */
  sendText(text: string): number
  getBufferedAmount(): number
  /** Asks for a pong that carries the same; the value as of sendText. */
  ping(payload: string): number
  /** Frames sent within `fn` leave in as few writes as possible. */
  cork(fn: () => void): void
  close(code: number, reason: string): void
  /** Ends the connection at once, and lets go of what waits. */
  terminate(): void
}

/** Close codes; those below 4000 are of RFC 6455 and its registry. */
export const GOING_AWAY = 1001
export const POLICY_VIOLATION = 1008
export const TRY_AGAIN_LATER = 1013
/** Nobody is logged in any more, as 401 says it of a request. */
export const LOGIN_ENDED = 4401

export interface Subscribed {
  readonly channel: Channel
  readonly filter: Filter
  /** Where the index has it; null until its source is being followed. */
  placement: Placement | null
}

export interface ClientEvents {
  sent(channel: Channel, count: number): void
  missed(channel: Channel, count: number): void
  /** The server ends the connection because of `reason`. */
  cut(reason: 'behind' | 'replies' | 'abuse'): void
}

/** What a refusal says besides. */
export interface RefusalDetails {
  /** Values at fault, by JSON pointer into the frame. */
  readonly fields?: readonly object[]
  readonly retryAfterMs?: number | undefined
  /** Nothing that the client did: it does not count as abuse, however often the client tries again. */
  readonly isOurs?: boolean
  /** What was asked for, to be recorded of who may not: a channel, or the type of a frame. */
  readonly asked?: string
}

export class LiveClient {
  readonly subscriptions = new Map<string, Subscribed>()
  /** Number of the event that was put into the outbox last, so that none is put there twice. */
  lastEvent = -1
  closed = false
  /** When the caller was last known to be who it is, monotonic milliseconds. */
  knownAtMs: number
  private who: Caller
  private readonly viewers = new Map<Role, Viewer>()
  private readonly socket: LiveSocket
  private readonly limits: ApiLimits
  private readonly events: ClientEvents
  private readonly outflow: Outflow
  private readonly mayRefuse: (code: string, asked: string | null) => boolean
  private outbox: string[] = []

  constructor(options: {
    readonly socket: LiveSocket
    readonly caller: Caller
    readonly nowMs: number
    readonly limits: ApiLimits
    readonly events: ClientEvents
    /** Asked at each refusal; false for one too many, which ends the connection. Default never. */
    readonly mayRefuse?: (code: string, asked: string | null) => boolean
  }) {
    this.socket = options.socket
    this.who = options.caller
    this.knownAtMs = options.nowMs
    this.limits = options.limits
    this.events = options.events
    this.mayRefuse = options.mayRefuse ?? (() => true)
    this.outflow = new Outflow(options.limits.clientBufferBytesMax)
  }

  get caller(): Caller {
    return this.who
  }

  set caller(caller: Caller) {
    this.who = caller
    this.viewers.clear()
  }

  /** The caller, as far as the events of a channel are concerned. */
  viewerOf(channel: Channel): Viewer {
    const { permission } = CHANNELS[channel]
    const role = permission === 'none' ? 'viewer' : permission.role
    let viewer = this.viewers.get(role)
    if (viewer === undefined) {
      viewer = { id: this.who.id, sites: this.who.sites(role) }
      this.viewers.set(role, viewer)
    }
    return viewer
  }

  /** Answers are never dropped: a client that asks on and on without reading is cut. */
  reply(frame: object): void {
    if (this.closed) return
    const text = JSON.stringify(frame)
    const { clientBufferBytesMax, clientRepliesBytesMax } = this.limits
    const waiting = this.socket.getBufferedAmount()
    if (text.length > clientBufferBytesMax + clientRepliesBytesMax - waiting) {
      this.cut('replies')
      return
    }
    this.socket.sendText(text)
    this.outflow.queued(this.socket.getBufferedAmount() - waiting)
  }

  refuse(id: string | null, code: string, message: string, hint: string, details: RefusalDetails = {}): void {
    const { fields = [], retryAfterMs, isOurs = false, asked = null } = details
    this.reply({
      ...{ type: 'error', id, code, message, hint },
      ...(fields.length === 0 ? {} : { fields }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
    if (this.closed || isOurs || this.mayRefuse(code, asked)) return
    this.events.cut('abuse')
    this.close(POLICY_VIOLATION, 'too many frames were refused')
  }

  /** Whether an event of `bytes` would be sent now, behind others of `before` bytes. */
  hasRoom(bytes: number, before = 0): boolean {
    return !this.closed && this.outflow.admits(bytes, this.socket.getBufferedAmount() + before)
  }

  /** False when it was not sent. The client answers by itself when everything before it has come. */
  ping(payload: string): boolean {
    return !this.closed && this.socket.ping(payload) !== 0
  }

  /** Puts an event frame aside for `flush`. */
  put(frame: string): void {
    this.outbox.push(frame)
  }

  /**
   * Sends what was put aside, all of it of `channel`.
   * @param behind what goes along in the same write, once it is known how many of the frames were sent: the first ones.
   * @returns how many those are.
   */
  flush(channel: Channel, nowMs: number, behind?: (sent: number) => void): number {
    const frames = this.outbox
    this.outbox = []
    if (this.closed) return 0
    let missed = 0
    const waiting = this.socket.getBufferedAmount()
    this.outflow.observe(waiting, nowMs)
    this.socket.cork(() => {
      for (const frame of frames) {
        const sent =
          this.outflow.admits(frame.length, this.socket.getBufferedAmount()) && this.socket.sendText(frame) !== 0
        if (sent) continue
        this.outflow.miss(channel, nowMs)
        missed++
      }
      behind?.(frames.length - missed)
    })
    this.outflow.queued(this.socket.getBufferedAmount() - waiting)
    if (missed < frames.length) this.events.sent(channel, frames.length - missed)
    if (missed > 0) this.events.missed(channel, missed)
    return frames.length - missed
  }

  /** Called when the socket could write again, and from time to time; ends a client that stays behind. */
  review(nowMs: number): void {
    if (this.closed || this.outflow.state.kind === 'current') return
    const waiting = this.socket.getBufferedAmount()
    this.outflow.observe(waiting, nowMs)
    if (this.outflow.hasCaughtUp(waiting)) {
      for (const { channel, count } of this.outflow.catchUp(waiting, nowMs))
        this.reply({ type: 'missed', channel, count })
    } else if (this.outflow.behindMs(nowMs) > this.limits.clientBehindMaxMs) {
      this.cut('behind')
    }
  }

  /** Nothing is sent after the close frame, whenever the client answers it. */
  close(code: number, reason: string): void {
    if (this.closed) return
    this.closed = true
    this.socket.close(code, reason)
  }

  /** A close frame would wait behind what the client does not read, and hold all of it until the idle timeout. */
  private cut(reason: 'behind' | 'replies'): void {
    this.closed = true
    this.events.cut(reason)
    this.socket.terminate()
  }
}
