/** How patient a consumer is with a record that it cannot handle, by the contract with whoever reads the dead letters. */

import type { BackoffPolicy } from '../../shared/retry.ts'

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
