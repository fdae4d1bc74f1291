/**
 * How often one client may subscribe, and that services answer it one after the other: so nobody holds up others by asking again
 * and again.
 */

import type { Clock } from '../../../shared/clock.ts'
import { TokenBucket } from '../../../shared/token-bucket.ts'
import type { LiveClient } from './live-client.ts'

/** Subscriptions that a client may ask for: so many a second, and at once as many times those that it may have. */
const PER_SECOND = 20
const BURST_FACTOR = 2

interface Asked {
  readonly bucket: TokenBucket
  /** Settles when services have answered. */
  turn: Promise<void>
}

export class SubscribeLimit {
  private readonly clock: Clock
  private readonly burst: number
  private readonly asked = new WeakMap<LiveClient, Asked>()

  constructor(clock: Clock, subscriptionsMax: number) {
    this.clock = clock
    this.burst = BURST_FACTOR * subscriptionsMax
  }

  /** @returns 0, or after how many milliseconds the client may ask again. */
  take(client: LiveClient): number {
    return this.askedBy(client).bucket.take(1, this.clock.monotonicMs())
  }

  /** Does the work when what the client asked for before is done, however that ended. */
  async inTurn(client: LiveClient, work: () => Promise<void>): Promise<void> {
    const asked = this.askedBy(client)
    const turn = asked.turn.then(work)
    asked.turn = turn.catch(() => undefined)
    await turn
  }

  private askedBy(client: LiveClient): Asked {
    let asked = this.asked.get(client)
    if (asked === undefined) {
      const rules = { perSecond: PER_SECOND, burst: this.burst }
      asked = { bucket: new TokenBucket(rules, this.clock.monotonicMs()), turn: Promise.resolve() }
      this.asked.set(client, asked)
    }
    return asked
  }
}
