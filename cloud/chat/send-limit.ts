/** How much one user may write: a bucket of tokens each, at each core. Pure, but for what it remembers. */

import { putLast } from '../../shared/bounded.ts'
import { MINUTE_MS } from '../../shared/durations.ts'
import { type BucketRules, TokenBucket } from '../../shared/token-bucket.ts'

export interface SendLimitRules {
  /** Tokens that come back in a minute. */
  readonly messagesPerMinute: number
  /** Tokens of a full bucket. */
  readonly messagesBurst: number
}

/** Users remembered; at the limit the one is forgotten who wrote longest ago, and may begin anew. */
const USERS_MAX = 20_000

export class SendLimit {
  private readonly rules: BucketRules
  private readonly usersMax: number
  /** Whoever wrote last is last. */
  private readonly buckets = new Map<string, TokenBucket>()

  constructor({ messagesPerMinute, messagesBurst }: SendLimitRules, usersMax = USERS_MAX) {
    this.rules = { perSecond: (messagesPerMinute * 1_000) / MINUTE_MS, burst: messagesBurst }
    this.usersMax = usersMax
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
    const bucket = this.buckets.get(userId) ?? new TokenBucket(this.rules, nowMs)
    // Who floods is remembered like who writes, or others who write would let them begin anew.
    putLast(this.buckets, userId, bucket, this.usersMax)
    return bucket.take(1, nowMs)
  }
}
