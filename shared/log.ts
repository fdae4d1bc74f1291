/** Structured logs, one JSON object a line, or readable lines in a terminal. */

import pino from 'pino'
import pretty from 'pino-pretty'

export type Logger = pino.Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogFormat = 'auto' | 'json' | 'pretty'

/** Names under which drivers and libraries keep what nobody may read. */
const SECRET_NAMES = [
  ...['password', 'secret', 'clientSecret', 'connectionString', 'privateKey', 'private_key', 'key_pem'],
  ...['authorization', 'Authorization', 'cookie', 'accessToken', 'refreshToken', 'access_token', 'refresh_token'],
]

/** At the top of what is logged, and one and two steps down. */
const redact = {
  paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
  censor: '(hidden)',
}

/** Steps below what is logged in which an error is still looked for. */
const ERROR_DEPTH_MAX = 3

/**
 * Of an error, wherever it stands, only what says what happened: those of drivers carry the settings of their connection,
 * password and all. Bindings of a child logger pass by `formatters`, and what is logged by itself is under `err`.
 */
const serializers = { err: describeThrown, error: describeThrown, cause: describeThrown, reason: describeThrown }
const formatters = { log: (fields: object) => withErrorsDescribed(fields, ERROR_DEPTH_MAX) as Record<string, unknown> }

function withErrorsDescribed(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || depth < 0) return value
  if (value instanceof Error) return describeThrown(value)
  if (Array.isArray(value)) return value.map((each) => withErrorsDescribed(each, depth - 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  // What has a form of its own, such as a date or a buffer, writes itself.
  if (prototype !== Object.prototype && prototype !== null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withErrorsDescribed(each, depth - 1)]))
}

function describeThrown(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown
  const { name, message, stack } = thrown
  const { code } = thrown as { code?: unknown }
  return { name, message, ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}), stack }
}

/** `auto` is pretty when standard error is a terminal. Logs go to standard error; standard output is for results. */
export function createLogger(options: { level: LogLevel; format: LogFormat; name: string }): Logger {
  const { level, format, name } = options
  const base = { name, level, timestamp: pino.stdTimeFunctions.isoTime, redact, serializers, formatters }
  // Worker transports fail in a compiled binary, so both forms write in process.
  if (format === 'pretty' || (format === 'auto' && process.stderr.isTTY)) {
    return pino(base, pretty({ sync: true, destination: 2, ignore: 'pid,hostname' }))
  }
  return pino(base, pino.destination({ dest: 2, sync: true }))
}

/** For tests and for code that must not log. */
export const silentLogger: Logger = pino({ level: 'silent' })
