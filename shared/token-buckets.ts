/** A bucket of tokens for each of many, such as the users of a core; of more than there is room for those that asked longest ago are forgotten. Pure. */

import { putLast } from './bounded.ts'
import { type BucketRules, TokenBucket } from './token-bucket.ts'

export class TokenBuckets {
  private readonly rules: BucketRules
  private readonly max: number
  /** The one that asked last is last. */
  private readonly buckets = new Map<string, TokenBucket>()

  /** @param max buckets remembered; whoever is forgotten begins with a full one. */
  constructor(rules: BucketRules, max: number) {
    this.rules = rules
    this.max = max
  }

  /** Buckets remembered. */
  get size(): number {
    return this.buckets.size
  }

  /**
   * Takes tokens of the bucket of `name`. @param nowMs monotonic milliseconds.
   * @returns 0, or after how many milliseconds there are as many; nothing is taken then.
   */
  take(name: string, cost: number, nowMs: number): number {
    const bucket = this.buckets.get(name) ?? new TokenBucket(this.rules, nowMs)
    // Who floods is remembered like who does not, or others would let them begin anew.
    putLast(this.buckets, name, bucket, this.max)
    return bucket.take(cost, nowMs)
  }
}
