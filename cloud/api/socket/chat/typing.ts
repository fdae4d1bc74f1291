/**
 * Who is typing: how often somebody is said to be, on the way out, and for how long it is believed, on the way in. Nothing of
 * it is stored, and what is forgotten costs nobody anything. Pure.
 */

import { putLast } from '../../../../shared/bounded.ts'
import { memberKey, type TypingRecord } from '../../../chat/chat.ts'
import { TYPING_MAX } from './chat-limits.ts'

interface Said {
  readonly atMs: number
  readonly isTyping: boolean
}

/** Times are monotonic milliseconds. */
export class TypingThrottle {
  private readonly intervalMs: number
  /** By user and conversation, the one that was said last is last. */
  private readonly said = new Map<string, Said>()

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs
  }

  /** Whether it is to be said: once in an interval that they type, and once after that that they have stopped. */
  admits(userId: string, conversationId: string, isTyping: boolean, nowMs: number): boolean {
    const key = memberKey({ conversationId, userId })
    const last = this.said.get(key)
    if (isTyping ? last !== undefined && nowMs - last.atMs < this.intervalMs : last?.isTyping !== true) return false
    // Who stops and begins again and again is not said to more often.
    putLast(this.said, key, { atMs: isTyping ? nowMs : (last?.atMs ?? nowMs), isTyping }, TYPING_MAX)
    return true
  }
}

export interface TypingEnd {
  readonly conversationId: string
  readonly userId: string
  readonly recipientIds: readonly string[]
}

interface Shown extends TypingEnd {
  readonly untilMs: number
}

/** People who are shown as typing; times are monotonic milliseconds. */
export class TypingShown {
  private readonly expiryMs: number
  /** By user and conversation, in the order in which they end. */
  private readonly shown = new Map<string, Shown>()

  constructor(expiryMs: number) {
    this.expiryMs = expiryMs
  }

  get size(): number {
    return this.shown.size
  }

  /**
   * @param ageMs of the record.
   * @returns whether it is to be shown: not when it is too old, nor that somebody has stopped who was not shown as typing.
   */
  take({ conversationId, userId, isTyping, recipientIds }: TypingRecord, ageMs: number, nowMs: number): boolean {
    if (ageMs > this.expiryMs) return false
    const key = memberKey({ conversationId, userId })
    const was = this.shown.delete(key)
    if (!isTyping) return was
    // Rather than to forget one, who would be shown as typing for ever.
    if (this.shown.size >= TYPING_MAX) return false
    this.shown.set(key, { conversationId, userId, recipientIds, untilMs: nowMs + this.expiryMs })
    return true
  }

  /** They have said what they were typing; null when they were not shown as typing. */
  end(userId: string, conversationId: string): TypingEnd | null {
    const key = memberKey({ conversationId, userId })
    const shown = this.shown.get(key) ?? null
    this.shown.delete(key)
    return shown
  }

  /** Those of whom nothing more was heard. */
  expired(nowMs: number): TypingEnd[] {
    const expired: TypingEnd[] = []
    for (const [key, shown] of this.shown) {
      if (shown.untilMs > nowMs) break
      this.shown.delete(key)
      expired.push(shown)
    }
    return expired
  }
}
