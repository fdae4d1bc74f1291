/** Backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), and the one retry loop built on it. */

import { type Clock, sleep } from './clock.ts'
import type { Random } from './random.ts'

export interface BackoffPolicy {
  /** Upper bound of the first delay, milliseconds. */
  readonly baseMs: number
  /** Upper bound of every delay, milliseconds. */
  readonly capMs: number
}

/** Delay before retry number `attempt` (0 for the first): uniform in [0, min(cap, base * 2^attempt)), milliseconds. */
export function fullJitterMs(attempt: number, policy: BackoffPolicy, random: Random): number {
  const ceiling = Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(attempt, 52))
  return random.fraction() * ceiling
}

export interface RetryOptions {
  readonly clock: Clock
  readonly random: Random
  readonly backoff: BackoffPolicy
  /** Cancels the waiting; the last error is thrown. */
  readonly signal: AbortSignal
  /** Called before each wait; log here, with a rate limit of your own. */
  readonly onRetry?: (error: unknown, attempt: number, delayMs: number) => void
  /** Return false to give up and throw. Default: always try again. */
  readonly isRetryable?: (error: unknown) => boolean
}

/** Calls `operation` until it succeeds, gives up, or is cancelled; throws the last error. */
export async function retry<T>(operation: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await operation()
    } catch (error) {
      if (options.signal.aborted || options.isRetryable?.(error) === false) throw error
      const delayMs = fullJitterMs(attempt, options.backoff, options.random)
      options.onRetry?.(error, attempt, delayMs)
      await sleep(options.clock, delayMs, options.signal)
      if (options.signal.aborted) throw error
    }
  }
}
