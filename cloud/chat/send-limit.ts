/** How much one user may write: a bucket of tokens each, at each core. Pure, but for what it remembers. */

export interface SendLimitRules {
  /** Tokens that come back in a minute. */
  readonly messagesPerMinute: number
  /** Tokens of a full bucket. */
  readonly messagesBurst: number
}

/** Users remembered; at the limit the one is forgotten who wrote longest ago, and may begin anew. */
const USERS_MAX = 20_000
const MINUTE_MS = 60_000

interface Bucket {
  readonly tokens: number
  readonly atMs: number
}

export class SendLimit {
  private readonly rules: SendLimitRules
  private readonly usersMax: number
  /** Whoever wrote last is last. */
  private readonly buckets = new Map<string, Bucket>()

  constructor(rules: SendLimitRules, usersMax = USERS_MAX) {
    this.rules = rules
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
    const { messagesPerMinute, messagesBurst } = this.rules
    const perMs = messagesPerMinute / MINUTE_MS
    const before = this.buckets.get(userId)
    const tokens =
      before === undefined ? messagesBurst : Math.min(messagesBurst, before.tokens + (nowMs - before.atMs) * perMs)
    const isAllowed = tokens >= 1
    // Who floods is remembered like who writes, or a flood would be forgotten by flooding.
    this.buckets.delete(userId)
    if (this.buckets.size >= this.usersMax) this.forget()
    this.buckets.set(userId, { tokens: isAllowed ? tokens - 1 : tokens, atMs: nowMs })
    return isAllowed ? 0 : Math.max(1, Math.ceil((1 - tokens) / perMs))
  }

  private forget(): void {
    const [oldest] = this.buckets.keys()
    if (oldest !== undefined) this.buckets.delete(oldest)
  }
}
