/** How much one user may write: a bucket of tokens each, at each core. Pure, but for what it remembers. */

import { MINUTE_MS } from '../../shared/durations.ts'
import { TokenBuckets } from '../../shared/token-buckets.ts'

export interface SendLimitRules {
  /** Tokens that come back in a minute. */
  readonly messagesPerMinute: number
  /** Tokens of a full bucket. */
  readonly messagesBurst: number
}

/** Users remembered; at the limit the one is forgotten who wrote longest ago, and may begin anew. */
const USERS_MAX = 20_000

export class SendLimit {
  private readonly buckets: TokenBuckets

  constructor({ messagesPerMinute, messagesBurst }: SendLimitRules, usersMax = USERS_MAX) {
    this.buckets = new TokenBuckets(
      { perSecond: (messagesPerMinute * 1_000) / MINUTE_MS, burst: messagesBurst },
      usersMax,
    )
  }

  /** Users remembered. */
  get size(): number {
    return this.buckets.size
  }

  /**
   * Takes one token. @param nowMs monotonic milliseconds.
   * @returns 0, or after how many milliseconds there is one; nothing is taken then.
   */
  take(userId: string, nowMs: number): number {
    return this.buckets.take(userId, 1, nowMs)
  }
}
