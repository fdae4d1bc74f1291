/** What becomes of a consumed record: a value to handle, or the reason why there is none. */

import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { ConsumedRecord } from './bus.ts'

/** Why a record has no value: `unusable` is a stable code in upper snake case, `message` a sentence for operators. */
export interface Unusable {
  readonly unusable: string
  readonly message: string
}

export interface ConsumedItem<T> {
  readonly record: ConsumedRecord
  readonly value: T
}

/** What `decode` gives; what it throws makes the record unusable as well. */
export function decoded<T extends object>(
  decode: (record: ConsumedRecord) => T | Unusable,
  record: ConsumedRecord,
): T | Unusable {
  try {
    return decode(record)
  } catch (error) {
    return { unusable: 'DECODE_FAILED', message: messageOf(error) }
  }
}

/** The stable code of what a handler threw. */
export function codeOf(error: unknown): string {
  return error instanceof BusbarError ? error.code : 'HANDLER_FAILED'
}
