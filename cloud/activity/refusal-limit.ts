/**
 * Bounds the entries of what was refused, so that nobody can fill the database by asking for what they may not, nor hide among so
 * many what others are refused. What is left out is counted into the next entry of its kind. Those who show a login have a share of
 * their own, and so have the logins of strangers: whoever tries passwords cannot be drowned by whoever asks for anything else.
 */

import { type BucketRules, TokenBucket } from '../../shared/token-bucket.ts'
import { TokenBuckets } from '../../shared/token-buckets.ts'
import { ANONYMOUS, type NewActivity } from './event.ts'

interface Share {
  readonly bucket: TokenBucket
  /** Left out since the last entry. */
  left: number
}

/** One login, or one address of strangers, may use that part of a share. */
const PARTS = 10
/** Logins and addresses whose use is remembered. */
const SOURCES_MAX = 1_000

export class RefusalLimit {
  private readonly shares: Readonly<Record<'known' | 'strangers' | 'logins', Share>>
  private readonly sources: TokenBuckets
  private suppressed = 0

  constructor(perMinute: number, nowMs: number) {
    const share = (): Share => ({ bucket: new TokenBucket(rulesOf(perMinute), nowMs), left: 0 })
    this.sources = new TokenBuckets(rulesOf(perMinute / PARTS), SOURCES_MAX)
    this.shares = { known: share(), strangers: share(), logins: share() }
  }

  /** How many were left out before this one; null when it is left out itself. */
  admit(activity: NewActivity, nowMs: number): number | null {
    const { userId, activityType, outcome, metadata } = activity
    // By what was shown, not by whom it names: whether a name that was tried is a user's must not be seen from how long this takes.
    const isKnown = metadata?.sessionId !== undefined
    const isStrange = !isKnown && (outcome === 'FAILURE' || userId === ANONYMOUS)
    if (outcome !== 'REFUSED' && !isStrange) return 0
    const share = this.shares[isKnown ? 'known' : activityType === 'login' ? 'logins' : 'strangers']
    const source = metadata?.sessionId ?? metadata?.ipAddress
    const isTooMany = typeof source === 'string' && this.sources.take(source, 1, nowMs) > 0
    if (isTooMany || share.bucket.take(1, nowMs) > 0) {
      share.left++
      this.suppressed++
      return null
    }
    const { left } = share
    share.left = 0
    return left
  }

  /** Left out since the start. */
  stats(): { readonly suppressed: number } {
    return { suppressed: this.suppressed }
  }
}

function rulesOf(perMinute: number): BucketRules {
  return { perSecond: perMinute / 60, burst: Math.max(1, perMinute) }
}
