/** The spool's file: opening it so that what can be read is on the disk for good, and setting a damaged one aside. */

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { isDamage, openSqlite, type SqliteDatabase, sqliteCode } from '../../shared/sqlite.ts'
import { CHECKPOINT_PAGES, DAMAGED_FILES_MAX } from './limits.ts'
import { configure, createSchema, FORMAT_VERSION, formatVersion, type SpoolIdentity } from './schema.ts'

export const SPOOL_FILE = 'spool.db'
const DAMAGED_PREFIX = `${SPOOL_FILE}.damaged-`
/** SQLite's companions of a database file. */
const SUFFIXES = ['', '-wal', '-shm', '-journal']

/**
 * Opens the spool in `dir`, and creates it when there is none.
 * @throws BusbarError SPOOL_LOCKED, SPOOL_FORMAT or SPOOL_OPEN_FAILED; SQLite's own error when the file is damaged.
 */
export function openSpoolFile(dir: string, identity: () => SpoolIdentity): SqliteDatabase {
  let database: SqliteDatabase | null = null
  try {
    mkdirSync(dir, { recursive: true })
    database = openSqlite(join(dir, SPOOL_FILE), { busyTimeoutMs: 2000 })
    configure(database, CHECKPOINT_PAGES)
    const version = formatVersion(database)
    if (version === 0) {
      createSchema(database, identity())
      syncDirectory(dir)
    } else if (version !== FORMAT_VERSION) {
      throw new BusbarError(`the spool in ${dir} has format ${version}, this version knows ${FORMAT_VERSION}`, {
        code: 'SPOOL_FORMAT',
        hint: 'Run the version that wrote it until the spool is drained, or give this one another directory.',
      })
    }
    return database
  } catch (error) {
    database?.close()
    if (isDamage(error) || error instanceof BusbarError) throw error
    throw openFailure(dir, error)
  }
}

/**
 * Copies the write-ahead log into the database file and syncs both. Until that has worked, what was read could still be
 * lost: after a crash of the process, or a failed sync, the log may hold commits that are only in the kernel's memory,
 * and a second sync would not report them missing again.
 */
export function makeDurable(database: SqliteDatabase): void {
  const [result] = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
  if (result?.busy !== 0) throw new BusbarError('the spool is in use', { code: 'SPOOL_LOCKED', retryable: true })
}

/** Renames the file and its companions; returns the new name. `stamp` must be fit for a file name. */
export function setAside(dir: string, stamp: string): string {
  const taken = damagedFiles(dir)
  let name = `${DAMAGED_PREFIX}${stamp}`
  for (let count = 2; taken.includes(name); count++) name = `${DAMAGED_PREFIX}${stamp}-${count}`
  for (const suffix of SUFFIXES) {
    const path = join(dir, SPOOL_FILE + suffix)
    if (existsSync(path)) renameSync(path, join(dir, name + suffix))
  }
  for (const old of [...taken, name].slice(0, -DAMAGED_FILES_MAX)) {
    for (const suffix of SUFFIXES) rmSync(join(dir, old + suffix), { force: true })
  }
  syncDirectory(dir)
  return name
}

/** Names of the files set aside, oldest first. */
export function damagedFiles(dir: string): string[] {
  const isCompanion = (name: string) => SUFFIXES.some((suffix) => suffix !== '' && name.endsWith(suffix))
  return readdirSync(dir)
    .filter((name) => name.startsWith(DAMAGED_PREFIX) && !isCompanion(name))
    .sort()
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

function openFailure(dir: string, cause: unknown): BusbarError {
  if (sqliteCode(cause)?.startsWith('SQLITE_BUSY')) {
    return new BusbarError(`the spool in ${dir} is in use by another process`, {
      code: 'SPOOL_LOCKED',
      retryable: true,
      hint: 'Stop the other busbar-edge, or give this one another spool.dir.',
      cause,
    })
  }
  return new BusbarError(`the spool in ${dir} cannot be opened: ${messageOf(cause)}`, {
    code: 'SPOOL_OPEN_FAILED',
    retryable: true,
    hint: 'Check that the directory exists, is writable by this user, and that its disk is healthy and not full.',
    cause,
  })
}
