/**
 * SQLite, the same in sources, in tests and in a compiled binary.
 *
 * better-sqlite3 looks for its native addon beside its own package at run time, which a compiled binary does not have.
 * Its entries per platform name the addon literally, so the bundler finds and embeds it. Both of Linux are imported here:
 * an addon is loaded only when its first database is opened, so the other one costs two megabytes of the binary and
 * nothing else. A build needs no plugin and no define; `process.arch` decides at run time.
 *
 * Bun unpacks an embedded addon into $TMPDIR, which must be writable.
 */

import AnySqlite from 'better-sqlite3'
import LinuxArm64Sqlite from 'better-sqlite3/linux-arm64'
import LinuxX64Sqlite from 'better-sqlite3/linux-x64'
import { isCompiled } from './worker-url.ts'

export type SqliteDatabase = AnySqlite.Database
export type SqliteStatement<Parameters extends unknown[] | object = unknown[], Row = unknown> = AnySqlite.Statement<
  Parameters,
  Row
>

export interface SqliteOptions {
  readonly readonly?: boolean
  /** Fail instead of creating the file. */
  readonly fileMustExist?: boolean
  /** How long a statement waits for another connection's lock, milliseconds. Default 5000. */
  readonly busyTimeoutMs?: number
}

/** Opens the database at `path`, or `:memory:`; its directory must exist. Sets no pragma. */
export function openSqlite(path: string, options: SqliteOptions = {}): SqliteDatabase {
  const Sqlite = driver()
  return new Sqlite(path, {
    readonly: options.readonly ?? false,
    fileMustExist: options.fileMustExist ?? false,
    timeout: options.busyTimeoutMs ?? 5000,
  })
}

/** The SQLite result code of an error, such as `SQLITE_FULL`, or null when it comes from elsewhere. */
export function sqliteCode(error: unknown): string | null {
  if (!(error instanceof Error) || error.name !== 'SqliteError' || !('code' in error)) return null
  return String(error.code)
}

/** True for what SQLite says of a file that is not, or no longer, a database. */
export function isDamage(error: unknown): boolean {
  return /^SQLITE_(CORRUPT|NOTADB)/.test(sqliteCode(error) ?? '')
}

function driver(): typeof AnySqlite {
  if (!isCompiled()) return AnySqlite
  return process.arch === 'arm64' ? LinuxArm64Sqlite : LinuxX64Sqlite
}
