/** Wrong tokens and proofs from one address: after a few of them it waits, so that nobody tries by the million. */

import { putLast } from '../../shared/bounded.ts'
import type { Clock } from '../../shared/clock.ts'
import { networkOf } from '../../shared/network.ts'
import { IdentityError } from '../identity/identity.ts'

export interface AttemptRules {
  /** Wrong attempts of one address within the window. */
  readonly failuresMax: number
  readonly windowMs: number
}

/** Addresses remembered; at the limit the one that began first is forgotten. */
const ADDRESSES_MAX = 10_000

interface Failures {
  count: number
  readonly sinceMs: number
}

export class AttemptLimit {
  private readonly rules: AttemptRules
  private readonly clock: Clock
  private readonly failures = new Map<string, Failures>()

  constructor(rules: AttemptRules, clock: Clock) {
    this.rules = rules
    this.clock = clock
  }

  /** @throws IdentityError TOO_MANY_REQUESTS */
  check(address: string): void {
    const failures = this.current(networkOf(address))
    if (failures === undefined || failures.count < this.rules.failuresMax) return
    const waitMs = failures.sinceMs + this.rules.windowMs - this.clock.monotonicMs()
    throw new IdentityError('TOO_MANY_REQUESTS', 'There were too many wrong attempts from this address.', {
      hint: 'Wait as long as Retry-After says.',
      retryAfter: Math.max(1, Math.ceil(waitMs / 1_000)),
    })
  }

  failed(address: string): void {
    const network = networkOf(address)
    const failures = this.current(network)
    if (failures !== undefined) {
      failures.count++
      return
    }
    putLast(this.failures, network, { count: 1, sinceMs: this.clock.monotonicMs() }, ADDRESSES_MAX)
  }

  private current(network: string): Failures | undefined {
    const failures = this.failures.get(network)
    if (failures === undefined || this.clock.monotonicMs() - failures.sinceMs < this.rules.windowMs) return failures
    this.failures.delete(network)
    return undefined
  }
}
