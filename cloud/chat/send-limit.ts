/** How much one user may write: a bucket of tokens each, at each core. Pure, but for what it remembers. */

import { MINUTE_MS } from '../../shared/durations.ts'

export interface SendLimitRules {
  /** Tokens that come back in a minute. */
  readonly messagesPerMinute: number
  /** Tokens of a full bucket. */
  readonly messagesBurst: number
}

/** Users remembered; at the limit the one is forgotten who wrote longest ago, and may begin anew. */
const USERS_MAX = 20_000

export class SendLimit {
  private readonly intervalMs: number
  private readonly leewayMs: number
  private readonly usersMax: number
  /** By user, when their bucket is full again (the generic cell rate algorithm). Whoever wrote last is last. */
  private readonly fullAtMs = new Map<string, number>()

  constructor({ messagesPerMinute, messagesBurst }: SendLimitRules, usersMax = USERS_MAX) {
    this.intervalMs = MINUTE_MS / messagesPerMinute
    this.leewayMs = (messagesBurst - 1) * this.intervalMs
    this.usersMax = usersMax
  }

  /** Users remembered. */
  get size(): number {
    return this.fullAtMs.size
  }

  /**
   * Takes one token. @param nowMs monotonic milliseconds.
   * @returns 0, or after how many milliseconds there is one; nothing is taken then.
   */
  take(userId: string, nowMs: number): number {
    const fullAtMs = Math.max(this.fullAtMs.get(userId) ?? 0, nowMs)
    const waitMs = fullAtMs - this.leewayMs - nowMs
    // Who floods is remembered like who writes, or others who write would let them begin anew.
    this.fullAtMs.delete(userId)
    if (this.fullAtMs.size >= this.usersMax) this.forget()
    this.fullAtMs.set(userId, waitMs > 0 ? fullAtMs : fullAtMs + this.intervalMs)
    return waitMs > 0 ? Math.ceil(waitMs) : 0
  }

  private forget(): void {
    const [oldest] = this.fullAtMs.keys()
    if (oldest !== undefined) this.fullAtMs.delete(oldest)
  }
}
