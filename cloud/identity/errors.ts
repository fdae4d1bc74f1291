/** What identity refuses, as a caller may read it. */

import { BusbarError } from '../../shared/errors.ts'

export type IdentityRefusal = 'UNAUTHENTICATED' | 'FORBIDDEN' | 'TOO_MANY_REQUESTS' | 'CONFLICT' | 'NOT_FOUND'

export class IdentityError extends BusbarError {
  readonly refusal: IdentityRefusal
  /** Seconds, where waiting helps. */
  readonly retryAfter: number | undefined

  constructor(
    refusal: IdentityRefusal,
    message: string,
    options: { readonly code?: string; readonly hint?: string; readonly retryAfter?: number } = {},
  ) {
    super(message, {
      code: options.code ?? refusal,
      ...(options.hint === undefined ? {} : { hint: options.hint }),
    })
    this.name = 'IdentityError'
    this.refusal = refusal
    this.retryAfter = options.retryAfter
  }
}
