/** One connected WebSocket client: its subscriptions, what is on the way to it, and the end of it. */

import type { ApiLimits } from '../limits.ts'
import type { Channel } from './channels.ts'
import { Outflow } from './outflow.ts'

/** What is used of Bun's ServerWebSocket. */
export interface LiveSocket {
  /** Bytes sent, -1 when they wait, 0 when the frame was dropped. */
  sendText(text: string): number
  getBufferedAmount(): number
  /** Frames sent within `fn` leave in as few writes as possible. */
  cork(fn: () => void): void
  close(code: number, reason: string): void
  /** Ends the connection at once, and lets go of what waits. */
  terminate(): void
}

/** The close code of RFC 6455 that is used here. */
export const GOING_AWAY = 1001

export interface Subscribed {
  readonly channel: Channel
  /** Which events; see filterKey. */
  readonly key: string
  /** False until the bus is being followed. */
  active: boolean
}

export interface ClientEvents {
  sent(channel: Channel, count: number): void
  missed(channel: Channel, count: number): void
  /** The server ends the connection because of `reason`. */
  cut(reason: 'behind' | 'replies'): void
}

export class LiveClient {
  readonly subscriptions = new Map<string, Subscribed>()
  /** Number of the event that was put into the outbox last, so that none is put there twice. */
  lastEvent = -1
  closed = false
  private readonly socket: LiveSocket
  private readonly limits: ApiLimits
  private readonly events: ClientEvents
  private readonly outflow: Outflow
  private outbox: string[] = []

  constructor(socket: LiveSocket, limits: ApiLimits, events: ClientEvents) {
    this.socket = socket
    this.limits = limits
    this.events = events
    this.outflow = new Outflow(limits.clientBufferBytesMax)
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

  /** Puts an event frame aside for `flush`. */
  put(frame: string): void {
    this.outbox.push(frame)
  }

  /** Sends what was put aside, all of it of `channel`. */
  flush(channel: Channel, nowMs: number): void {
    const frames = this.outbox
    this.outbox = []
    if (this.closed) return
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
    })
    this.outflow.queued(this.socket.getBufferedAmount() - waiting)
    if (missed < frames.length) this.events.sent(channel, frames.length - missed)
    if (missed > 0) this.events.missed(channel, missed)
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

  close(code: number, reason: string): void {
    if (!this.closed) this.socket.close(code, reason)
  }

  /** A close frame would wait behind what the client does not read, and hold all of it until the idle timeout. */
  private cut(reason: 'behind' | 'replies'): void {
    this.closed = true
    this.events.cut(reason)
    this.socket.terminate()
  }
}
