/** How patient a consumer is with a record that it cannot handle, by the contract with whoever reads the dead letters. */

import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY } from './catalogue.ts'

export interface RetryPolicy {
  /** Tries at once; the records behind it wait for them. */
  readonly immediateTries: number
  readonly immediatePauseMs: number
  /** Tries after that, with its key set aside. */
  readonly retries: number
  readonly backoff: BackoffPolicy
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  immediateTries: 3,
  immediatePauseMs: 100,
  retries: 8,
  backoff: { baseMs: 1_000, capMs: 300_000 },
}

/** The section `consumers` of the configuration. */
export interface ConsumerSettings {
  /** Retries of a service's record, and of a device's. */
  readonly retries: number
  readonly deviceRetries: number
  readonly retryBaseMs: number
  readonly retryCapMs: number
  /**
   * Records of one group that may be set aside. While there are more, pauses are not waited for: the tries of each run out
   * at once, and what is left are dead letters. At twice as many a batch of which records had to be set aside is left to
   * come again later, so that the table is bounded; but for keys that have a tenth of it each: what comes of those is a dead
   * letter at once, so that a single key does not make all the others wait.
   */
  readonly parkedMax: number
}

/** The policy of a consumer of these topics. */
export function retryPolicyOf(topics: readonly string[], settings: ConsumerSettings): RetryPolicy {
  const ofDevices = topics.every((topic) => topic === DEVICE_TELEMETRY || topic === DEVICE_STATUS)
  return {
    ...DEFAULT_RETRY_POLICY,
    retries: ofDevices ? settings.deviceRetries : settings.retries,
    backoff: { baseMs: settings.retryBaseMs, capMs: settings.retryCapMs },
  }
}

/** True when a record that failed `tries` times by itself is given up. */
export function isExhausted(tries: number, { immediateTries, retries }: RetryPolicy): boolean {
  return tries >= immediateTries + retries
}

/** Until the next try of a record that failed `tries` times by itself, milliseconds; null when it is given up. */
export function pauseAfterMs(tries: number, policy: RetryPolicy, random: Random): number | null {
  const { immediateTries, immediatePauseMs, backoff } = policy
  if (isExhausted(tries, policy)) return null
  if (tries === 0) return 0
  if (tries < immediateTries) return immediatePauseMs
  return Math.ceil(fullJitterMs(tries - immediateTries, backoff, random))
}
