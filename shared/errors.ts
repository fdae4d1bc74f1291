/** Errors that an operator can meet. A programmer's error is an assertion, not one of these. */

export interface BusbarErrorOptions {
  /** Stable, upper snake case; programs match on it. */
  readonly code: string
  /** Whether the same call may succeed later without anyone changing anything. */
  readonly retryable?: boolean
  /** The next step, in one sentence. */
  readonly hint?: string
  readonly cause?: unknown
}

export class BusbarError extends Error {
  readonly code: string
  readonly retryable: boolean
  readonly hint: string | undefined

  constructor(message: string, options: BusbarErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'BusbarError'
    this.code = options.code
    this.retryable = options.retryable ?? false
    this.hint = options.hint
  }
}

/** Throws when an invariant of the program does not hold; never used for input. */
export function assert(condition: unknown, invariant: string): asserts condition {
  if (!condition) throw new Error(`invariant violated: ${invariant}`)
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
