/** Structured logs, one JSON object a line, or readable lines in a terminal. */

import pino from 'pino'
import pretty from 'pino-pretty'

export type Logger = pino.Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogFormat = 'auto' | 'json' | 'pretty'

/** `auto` is pretty when standard error is a terminal. Logs go to standard error; standard output is for results. */
export function createLogger(options: { level: LogLevel; format: LogFormat; name: string }): Logger {
  const { level, format, name } = options
  const base = { name, level, timestamp: pino.stdTimeFunctions.isoTime }
  // Worker transports fail in a compiled binary, so both forms write in process.
  if (format === 'pretty' || (format === 'auto' && process.stderr.isTTY)) {
    return pino(base, pretty({ sync: true, destination: 2, ignore: 'pid,hostname' }))
  }
  return pino(base, pino.destination({ dest: 2, sync: true }))
}

/** For tests and for code that must not log. */
export const silentLogger: Logger = pino({ level: 'silent' })
