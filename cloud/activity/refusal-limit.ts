/**
 * Bounds the entries of what was refused, so that nobody can fill the database by asking for what they may not. What is left out is
 * counted into the next entry of its kind. Those who show a login have a share of their own: strangers cannot use it up.
 */

import { TokenBucket } from '../../shared/token-bucket.ts'
import type { NewActivity } from './event.ts'

interface Share {
  readonly bucket: TokenBucket
  /** Left out since the last entry. */
  left: number
}

export class RefusalLimit {
  private readonly shares: { readonly known: Share; readonly strangers: Share }
  private suppressed = 0

  constructor(perMinute: number, nowMs: number) {
    const share = (): Share => ({
      bucket: new TokenBucket({ perSecond: perMinute / 60, burst: perMinute }, nowMs),
      left: 0,
    })
    this.shares = { known: share(), strangers: share() }
  }

  /** How many were left out before this one; null when it is left out itself. */
  admit(activity: NewActivity, nowMs: number): number | null {
    const { outcome, metadata } = activity
    // By what was shown, not by whom it names: whether a name that was tried is a user's must not be seen from how long this takes.
    const isKnown = metadata?.sessionId !== undefined
    if (outcome !== 'REFUSED' && (outcome !== 'FAILURE' || isKnown)) return 0
    const share = isKnown ? this.shares.known : this.shares.strangers
    if (share.bucket.take(1, nowMs) > 0) {
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
