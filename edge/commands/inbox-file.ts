/** Opening commands.db so that what it shows is on the disk for good. */

import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { BusbarError } from '../../shared/errors.ts'
import { systemRandom } from '../../shared/random.ts'
import { openSqlite, type SqliteDatabase } from '../../shared/sqlite.ts'
import { InboxTables, SCHEMA, SCHEMA_VERSION } from './inbox-tables.ts'

/** What is left of the write-ahead log when it was copied into the file, bytes. */
const LOG_BYTES_KEPT = 4 * 1024 * 1024

export function inboxPath(dir: string): string {
  return join(dir, 'commands.db')
}

/**
 * Opens or creates the file at `path`, and its directory.
 * @throws SQLite's own errors, those of the file system, or BusbarError COMMANDS_FORMAT.
 */
export function openInbox(path: string): InboxTables {
  mkdirSync(dirname(path), { recursive: true })
  const database = openSqlite(path, { busyTimeoutMs: 2000 })
  try {
    return new InboxTables(prepared(database, path))
  } catch (error) {
    database.close()
    throw error
  }
}

function prepared(database: SqliteDatabase, path: string): SqliteDatabase {
  // Two gateways on one inbox would both carry out what is in it.
  database.pragma('locking_mode = EXCLUSIVE')
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.pragma(`journal_size_limit = ${LOG_BYTES_KEPT}`)
  const version = Number(database.pragma('user_version', { simple: true }))
  if (version === 0) {
    database.transaction(() => {
      database.exec(SCHEMA)
      // Positions begin at random, so that those of a damaged file's commands hardly ever come again.
      const before = Math.floor(systemRandom.fraction() * 2 ** 48)
      database.prepare("INSERT INTO sqlite_sequence VALUES ('commands', ?)").run(before)
      database.pragma(`user_version = ${SCHEMA_VERSION}`)
    })()
    syncDirectory(dirname(path))
  } else if (version !== SCHEMA_VERSION) {
    throw new BusbarError(`${path} has format ${version}, this version of busbar-edge knows ${SCHEMA_VERSION}`, {
      code: 'COMMANDS_FORMAT',
      hint: 'Run the version that wrote it, or move the file away; what it remembers of finished commands is lost then.',
    })
  }
  // After a crash the log may show commits that are in the kernel's memory only; nothing may rest on those yet.
  const [result] = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
  if (result?.busy !== 0) throw new BusbarError(`${path} is in use`, { code: 'COMMANDS_LOCKED', retryable: true })
  return database
}

/** A new file survives a power cut only when its directory entry does. */
function syncDirectory(dir: string): void {
  const handle = openSync(dir, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
