/** Hands events to the clients that want them: each event once to each client, in order, other work let in between. */

import type { Clock } from '../../../shared/clock.ts'
import { nextTurn } from '../../../shared/waiting.ts'
import type { Channel } from './channels.ts'
import type { LiveClient } from './live-client.ts'
import type { SubscriptionIndex } from './subscription-index.ts'
import { maySee, type Sight } from './visibility.ts'

export interface LiveEvent extends Sight {
  /** See keysOf; null when the event is none that anybody could be sent. */
  readonly keys: readonly string[] | null
  /** Asked for only when somebody wants it; null when there is none that could be sent. */
  frame(): string | null
}

/** Events handed out before other work gets its turn. */
const SLICE_EVENTS = 100

export class FanOut {
  private readonly index: SubscriptionIndex
  private readonly clock: Clock
  private readonly onMalformed: (channel: Channel) => void
  private events = 0

  constructor(options: { index: SubscriptionIndex; clock: Clock; onMalformed: (channel: Channel) => void }) {
    this.index = options.index
    this.clock = options.clock
    this.onMalformed = options.onMalformed
  }

  /** Never rejects: an event nobody can use must not make its source send it again. */
  async send<T>(channel: Channel, items: readonly T[], eventOf: (item: T) => LiveEvent): Promise<void> {
    for (let first = 0; first < items.length; first += SLICE_EVENTS) {
      if (first > 0) await nextTurn()
      if (this.index.size === 0) return
      this.sendSlice(channel, items.slice(first, first + SLICE_EVENTS).map(eventOf))
    }
  }

  /** Sends events to one client, whatever it is subscribed to. */
  sendTo(client: LiveClient, channel: Channel, frames: readonly string[]): void {
    for (const frame of frames) client.put(frame)
    client.flush(channel, this.clock.monotonicMs())
  }

  private sendSlice(channel: Channel, events: readonly LiveEvent[]): void {
    const touched = new Set<LiveClient>()
    for (const { keys, sites, askedBy, frame: frameOf } of events) {
      if (keys === null) {
        this.onMalformed(channel)
        continue
      }
      const event = this.events++
      let frame: string | null | undefined
      const wanted = { keys, sites, askedBy }
      this.index.wanting(channel, wanted, (clients, guarded) => {
        if (frame === undefined) frame = frameOf()
        if (frame === null) return
        for (const client of clients) {
          if (client.lastEvent === event) continue
          if (guarded && !maySee(client.viewerOf(channel), wanted)) continue
          client.lastEvent = event
          client.put(frame)
          touched.add(client)
        }
      })
      if (frame === null) this.onMalformed(channel)
    }
    const nowMs = this.clock.monotonicMs()
    for (const client of touched) client.flush(channel, nowMs)
  }
}
