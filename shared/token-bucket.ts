/** How much may be done at once and in the long run: tokens that come back with time. Pure. */

export interface BucketRules {
  readonly perSecond: number
  /** Of a full bucket. */
  readonly burst: number
}

/** Parts of a token that get lost in adding up. */
const ROUNDING = 1e-6

export class TokenBucket {
  private readonly rules: BucketRules
  private tokens: number
  private atMs: number

  /** @param nowMs monotonic milliseconds, as everywhere here. */
  constructor(rules: BucketRules, nowMs: number) {
    this.rules = rules
    this.tokens = rules.burst
    this.atMs = nowMs
  }

  /** @returns 0, or after how many milliseconds there is as much; nothing is taken then. */
  take(cost: number, nowMs: number): number {
    const { perSecond, burst } = this.rules
    this.tokens = Math.min(burst, this.tokens + ((nowMs - this.atMs) * perSecond) / 1000)
    this.atMs = nowMs
    if (this.tokens >= cost - ROUNDING) {
      this.tokens -= cost
      return 0
    }
    return Math.max(1, Math.ceil(((cost - this.tokens - ROUNDING) * 1000) / perSecond))
  }
}
