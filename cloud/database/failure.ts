/** What an error of a database driver means: whether the same call may succeed later, and why it did not now. */

import { BusbarError, messageOf } from '../../shared/errors.ts'

/**
 * `unavailable`: the database cannot be reached or cannot write; `contended`: another transaction was in the way, try
 * again at once; `duplicate`: a unique key exists already; `refused`: it is there and will not have us, which an
 * operator must mend; `other`: the statement itself is at fault.
 */
export type FailureKind = 'unavailable' | 'contended' | 'duplicate' | 'refused' | 'other'

/** System errors of a connection that broke or could not be made. */
const SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT', // a Unix socket that is not there
  'ERR_SOCKET_CLOSED',
])

/** SQLSTATE classes and codes, PostgreSQL documentation, appendix A. */
const SQLSTATE_UNAVAILABLE = /^(08...|53...|57P0[1-5]|57014|58...|25006|25P03|XX000)$/
const SQLSTATE_CONTENDED = /^(40001|40P01|55P03)$/
const SQLITE_CONTENDED = /^SQLITE_(BUSY|LOCKED)/
/** Disk full and I/O errors: an operator can mend them while we run. */
const SQLITE_UNAVAILABLE = /^SQLITE_(IOERR|FULL|PROTOCOL)/
/** Wrong password, no such database, no right; of a file: no right, or something else than a database. */
const REFUSED =
  /^(28...|3D000|42501|SQLITE_(CANTOPEN|READONLY|NOTADB|CORRUPT|AUTH|PERM).*|EACCES|EPERM|EROFS|ENOTDIR|EISDIR|EEXIST)$/

/** What OpenSSL and the runtime say of a certificate or of a name that will not do, on either side. */
const TLS_REFUSED =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|ERR_TLS_(?!HANDSHAKE_TIMEOUT)|ERR_SSL_|ERR_OSSL_)/
/** A server that has TLS off, or that takes nobody without it. */
const TLS_MISMATCH = /server does not support SSL|no encryption/i

/** Errors that pg throws without any code. */
const CLIENT_LOST =
  /connection terminated|connection error|timeout exceeded when trying to connect|timeout expired|query read timeout|client was closed|not queryable|discarded|socket/i

/** The kind of anything that a driver threw, or of a BusbarError made by `translate`. */
export function failureKind(error: unknown): FailureKind {
  if (error instanceof BusbarError) return error.cause === undefined ? 'other' : failureKind(error.cause)
  const code = codeOf(error)
  if (concernsTls(error)) return 'refused'
  if (code === undefined) return error instanceof Error && CLIENT_LOST.test(error.message) ? 'unavailable' : 'other'
  if (code === '23505' || code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY') {
    return 'duplicate'
  }
  if (SQLSTATE_CONTENDED.test(code) || SQLITE_CONTENDED.test(code)) return 'contended'
  if (REFUSED.test(code)) return 'refused'
  if (SOCKET_CODES.has(code) || SQLSTATE_UNAVAILABLE.test(code) || SQLITE_UNAVAILABLE.test(code)) return 'unavailable'
  return 'other'
}

/** Whether the same call may succeed later without anyone changing the program. */
export function isRetryable(error: unknown): boolean {
  const kind = failureKind(error)
  return kind === 'unavailable' || kind === 'contended'
}

/** True when a row with the same unique key exists already. */
export function isDuplicate(error: unknown): boolean {
  return failureKind(error) === 'duplicate'
}

/**
 * Failures that an operator can meet become a BusbarError with the driver's error as cause: DATABASE_UNAVAILABLE, which
 * is retryable, or DATABASE_REFUSED; others stay as they are.
 */
export function translate(error: unknown, database: string): unknown {
  if (error instanceof BusbarError) return error
  const kind = failureKind(error)
  if (kind === 'other' || kind === 'duplicate') return error
  if (kind === 'refused') {
    return new BusbarError(`database ${database} refuses: ${reasonOf(error)}`, {
      code: 'DATABASE_REFUSED',
      hint: concernsTls(error)
        ? 'check database.tls: enabled as the server wants it, caFile with the authority of its certificate, serverName with the name in it'
        : 'check database.url: the user, the password and the name of the database, or the path and rights of the file',
      cause: error,
    })
  }
  const what = kind === 'contended' ? 'is busy with another transaction' : 'is not available'
  return new BusbarError(`database ${database} ${what}: ${reasonOf(error)}`, {
    code: 'DATABASE_UNAVAILABLE',
    retryable: true,
    hint: 'check that the database is up, reachable from here, and has free disk space; the work is tried again by itself',
    cause: error,
  })
}

function concernsTls(error: unknown): boolean {
  return TLS_REFUSED.test(codeOf(error) ?? '') || TLS_MISMATCH.test(messageOf(error))
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string') return code
  // A host name with several addresses fails with one error for each.
  if (error instanceof AggregateError) return codeOf(error.errors[0])
  return undefined
}

function reasonOf(error: unknown): string {
  const message = messageOf(error)
  if (message !== '') return message
  return error instanceof AggregateError ? messageOf(error.errors[0]) : (codeOf(error) ?? 'no reason given')
}
