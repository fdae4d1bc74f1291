/**
 * Says on the bus that somebody is typing: once in a while, to whoever is in the conversation, without the database. While
 * the bus is slow or away what is said is left out, and counted.
 */

import type { Clock } from '../../../../shared/clock.ts'
import type { Bus } from '../../../bus/bus.ts'
import { TYPING_EVENTS } from '../../../bus/catalogue.ts'
import { COMMUNICATION, conversationUnknown, type Rosters, type TypingRecord } from '../../../chat/chat.ts'
import { TYPING_IN_FLIGHT_MAX } from './chat-limits.ts'
import { TypingThrottle } from './typing.ts'

export interface TypingOutOptions {
  readonly bus: Pick<Bus, 'publish'>
  readonly rosters: Pick<Rosters, 'of'>
  readonly intervalMs: number
  readonly clock: Clock
}

export class TypingOut {
  private readonly options: TypingOutOptions
  private readonly throttle: TypingThrottle
  private inFlight = 0
  private readonly counts = { published: 0, throttled: 0, busy: 0, failed: 0 }

  constructor(options: TypingOutOptions) {
    this.options = options
    this.throttle = new TypingThrottle(options.intervalMs)
  }

  /** Since the start: what was said, what was too soon, and what was left out with many on the way or by the bus. */
  stats(): { readonly published: number; readonly throttled: number; readonly busy: number; readonly failed: number } {
    return { ...this.counts }
  }

  /** Resolves without waiting for the bus. @throws ChatError CONVERSATION_UNKNOWN; BusbarError DATABASE_UNAVAILABLE */
  async say(userId: string, conversationId: string, isTyping: boolean): Promise<void> {
    const { rosters, clock } = this.options
    const members = await rosters.of(conversationId)
    if (members?.includes(userId) !== true) throw conversationUnknown(conversationId)
    if (!this.throttle.admits(userId, conversationId, isTyping, clock.monotonicMs())) {
      this.counts.throttled++
      return
    }
    const recipientIds = members.filter((member) => member !== userId)
    if (recipientIds.length === 0) return
    if (this.inFlight >= TYPING_IN_FLIGHT_MAX) {
      this.counts.busy++
      return
    }
    void this.publish({ conversationId, userId, isTyping, timestamp: clock.wallMs(), recipientIds })
  }

  /** Never rejects. */
  private async publish(record: TypingRecord): Promise<void> {
    this.inFlight++
    try {
      const value = JSON.stringify(record)
      const headers = { source: COMMUNICATION }
      await this.options.bus.publish(TYPING_EVENTS, [{ key: record.conversationId, value, headers }])
      this.counts.published++
    } catch {
      this.counts.failed++
    } finally {
      this.inFlight--
    }
  }
}
