/** The errors of the spool that others meet, and their way across the thread's boundary. */

import { BusbarError, messageOf } from '../../shared/errors.ts'
import { RECORD_BYTES_MAX } from '../../shared/limits.ts'
import { sqliteCode } from '../../shared/sqlite.ts'
import { TOPIC_BYTES_MAX } from './limits.ts'

/** A BusbarError as a message between threads. */
export interface StoreFailure {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly hint: string | undefined
}

export function failureOf(error: BusbarError): StoreFailure {
  const { code, message, retryable, hint } = error
  return { code, message, retryable, hint }
}

export function errorOf({ code, message, retryable, hint }: StoreFailure): BusbarError {
  return new BusbarError(message, hint === undefined ? { code, retryable } : { code, retryable, hint })
}

/** What a listener is told when a record is not known to be stored. */
export function writeFailure(why: string, cause?: unknown): BusbarError {
  return new BusbarError(`the spool cannot store: ${why}`, {
    code: 'SPOOL_WRITE_FAILED',
    retryable: true,
    hint: hintFor(cause),
    cause,
  })
}

export function readFailure(cause: unknown): BusbarError {
  return new BusbarError(`the spool cannot be read: ${messageOf(cause)}`, {
    code: 'SPOOL_READ_FAILED',
    retryable: true,
    hint: hintFor(cause),
    cause,
  })
}

/** A request that the thread did not live to answer. */
export function threadLost(reason: string): BusbarError {
  return new BusbarError(`the spool's thread does not answer: ${reason}`, {
    code: 'SPOOL_WRITE_FAILED',
    retryable: true,
    hint: 'It is started again by itself.',
  })
}

export function notRunning(): BusbarError {
  return new BusbarError('the spool is not running', { code: 'SPOOL_NOT_RUNNING', retryable: true })
}

/** Why a record cannot be stored whatever happens, or null. */
export function refusalOf(topic: string, payload: Uint8Array): BusbarError | null {
  if (payload.length <= RECORD_BYTES_MAX && topic.length <= TOPIC_BYTES_MAX) return null
  return new BusbarError(`a record of ${payload.length} bytes is too large, the limit is ${RECORD_BYTES_MAX}`, {
    code: 'RECORD_TOO_LARGE',
    hint: 'Send smaller batches.',
  })
}

function hintFor(cause: unknown): string {
  const code = sqliteCode(cause)
  if (code?.startsWith('SQLITE_IOERR')) return 'The disk reports errors: look at the kernel log and replace it.'
  if (code === null || code === 'SQLITE_FULL')
    return 'Free disk space, or restore the uplink so that the backlog drains.'
  return `Look at the log for ${code}.`
}
