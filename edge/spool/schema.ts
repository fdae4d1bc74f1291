/**
 * The database of a spool.
 *
 * Each lane has a table of its own, keyed by the first sequence of a row, so storing appends at the end of a b-tree and
 * needs no index. A row is a block, or a gap when `gap_reason` is set; what `boot` and `data` hold of a gap says gap-times.ts. `lanes` carries the counters, changed in the same
 * transaction as the rows, so that starting costs the same with ten million records of backlog as with none.
 */

import { LANES } from '../../shared/lanes.ts'
import type { SqliteDatabase } from '../../shared/sqlite.ts'
import { PAGE_BYTES } from './row-bytes.ts'

export const FORMAT_VERSION = 1

const laneTable = (name: string): string => `
  CREATE TABLE ${name} (
    first_sequence INTEGER PRIMARY KEY,
    record_count   INTEGER NOT NULL,
    gap_reason     TEXT,
    wall_ms        INTEGER NOT NULL,
    boot           INTEGER,
    monotonic_ms   INTEGER,
    encoding       INTEGER,
    crc32c         INTEGER,
    body_bytes     INTEGER,
    data           BLOB
  ) STRICT;`

const SCHEMA = `
  CREATE TABLE spool_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE lanes (
    lane TEXT PRIMARY KEY, next_sequence INTEGER NOT NULL, records INTEGER NOT NULL, bytes INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  ${LANES.map(laneTable).join('')}
  CREATE TABLE boots (id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, wall_offset_ms INTEGER NOT NULL) STRICT;
  CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY, lane TEXT NOT NULL, first_sequence INTEGER NOT NULL, record_count INTEGER NOT NULL,
    quarantined_wall_ms INTEGER NOT NULL, problem TEXT NOT NULL, encoding INTEGER, crc32c INTEGER, body_bytes INTEGER,
    data BLOB
  ) STRICT;
  PRAGMA user_version = ${FORMAT_VERSION};`

/** What a new spool is given; drawn at random so that (epoch, sequence) never comes twice, even after a reinstall. */
export interface SpoolIdentity {
  readonly epoch: string
  readonly firstSequences: Readonly<Record<(typeof LANES)[number], number>>
}

/**
 * Sets up the connection. Every commit is synced (FULL): a record is acknowledged only when it survives a power cut.
 * The lock is exclusive: two gateways on one spool would hand out the same sequences. Checkpoints are the store's own
 * business, since SQLite keeps their errors to itself; its automatic one is only a backstop.
 */
export function configure(database: SqliteDatabase, checkpointPages: number): void {
  database.pragma(`page_size = ${PAGE_BYTES}`)
  database.pragma('locking_mode = EXCLUSIVE')
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.pragma(`wal_autocheckpoint = ${checkpointPages * 8}`)
  database.pragma(`journal_size_limit = ${checkpointPages * 2 * PAGE_BYTES}`)
  database.pragma('cell_size_check = ON')
  database.pragma('temp_store = MEMORY')
}

export function formatVersion(database: SqliteDatabase): number {
  return Number(database.pragma('user_version', { simple: true }))
}

/** Creates the tables of a new spool; all or nothing. */
export function createSchema(database: SqliteDatabase, identity: SpoolIdentity): void {
  database.transaction(() => {
    database.exec(SCHEMA)
    database.prepare('INSERT INTO spool_meta VALUES (?, ?)').run('epoch', identity.epoch)
    const insert = database.prepare('INSERT INTO lanes VALUES (?, ?, 0, 0)')
    for (const lane of LANES) insert.run(lane, identity.firstSequences[lane])
  })()
}
