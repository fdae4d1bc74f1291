/** A publish that failed in part: its records went to several partitions, and some of those have theirs. */

import { BusbarError } from '../../shared/errors.ts'

export class PublishError extends BusbarError {
  /** Indexes of the records that are stored, ascending; of the others that is not known. */
  readonly stored: readonly number[]

  constructor(failure: BusbarError, stored: readonly number[]) {
    const { message, code, retryable, hint, cause } = failure
    super(message, { code, retryable, cause, ...(hint === undefined ? {} : { hint }) })
    this.stored = stored
  }
}

/** Indexes of the records that are stored though the publish was rejected; publishing those again would double them. */
export function storedOf(error: unknown): readonly number[] {
  return error instanceof PublishError ? error.stored : []
}
