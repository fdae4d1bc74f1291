/**
 * A connection to the spool's file that can be trusted. A failed sync or read makes it suspect: it is opened anew, and
 * all that it shows is made durable, before it is used again. A file that is damaged, or that the disk can no longer read,
 * is set aside and a new spool begun.
 */

import { assert } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { isDamage, sqliteCode } from '../../shared/sqlite.ts'
import type { Instant } from './boot-time.ts'
import { damagedFiles, makeDurable, openSpoolFile, setAside } from './database-file.ts'
import { CHECKPOINT_PAGES, READ_ERRORS_MAX } from './limits.ts'
import type { SpoolIdentity } from './schema.ts'
import { SpoolTables } from './tables.ts'

/** `strict` fails when what is shown cannot be made durable; `tolerant` opens, and the next use tries again. */
type Durability = 'tolerant' | 'strict'

const READ_ERRORS = new Set(['SQLITE_IOERR_READ', 'SQLITE_IOERR_SHORT_READ', 'SQLITE_IOERR_CORRUPTFS'])

export class Connection {
  private readonly dir: string
  private readonly bootId: string
  private readonly random: Random
  private opened: SpoolTables | null = null
  private suspect = false
  private damaged: string | null = null
  private readErrors = 0
  /** Estimate of the pages in the write-ahead log. */
  private logPages = 0

  constructor(dir: string, bootId: string, random: Random) {
    this.dir = dir
    this.bootId = bootId
    this.random = random
  }

  /** Opens the file; on a full or failing disk it opens for what is to come, though nothing can be stored or read yet. */
  open(now: Instant): void {
    this.connect(now, 'tolerant')
    this.damaged = damagedFiles(this.dir).at(-1) ?? null
    if (this.suspect) return
    try {
      this.use(now, (tables) => tables.pruneBoots(now))
    } catch {
      // Tidying can wait for the next start; `use` has judged the failure.
    }
  }

  /** Null before `open` and after `close`. May show what is not durable: for reports only. */
  get tables(): SpoolTables | null {
    return this.opened
  }

  /** Newest damaged file beside the spool, by name. */
  get damagedFile(): string | null {
    return this.damaged
  }

  /** Runs an operation and judges its failure. */
  use<T>(now: Instant, operation: (tables: SpoolTables) => T): T {
    try {
      if (this.opened === null || this.suspect) this.connect(now, 'strict')
      assert(this.opened !== null, 'connect opens the tables')
      return operation(this.opened)
    } catch (error) {
      const code = sqliteCode(error)
      // A sector that cannot be read would fail every commit that deletes what lies there, for ever.
      if (code !== null && READ_ERRORS.has(code)) this.readErrors++
      if (isDamage(error) || this.readErrors >= READ_ERRORS_MAX) this.replace(now)
      else if (code !== null && code !== 'SQLITE_FULL') this.suspect = true
      throw error
    }
  }

  /** Takes note of pages written to the log. */
  logged(pages: number): void {
    this.logPages += pages
  }

  /**
   * Copies the log into the file when it has grown, or always when `eager`: on a full disk the log must not hold pages
   * that the file has no room for. Never throws: nothing is lost, the log still has it all.
   */
  checkpoint(eager: boolean): void {
    if (this.opened === null || this.suspect || this.logPages < (eager ? 1 : CHECKPOINT_PAGES)) return
    try {
      const [result] = this.opened.database.pragma('wal_checkpoint(PASSIVE)') as { log: number; checkpointed: number }[]
      this.logPages = result === undefined ? 0 : result.log - result.checkpointed
    } catch (error) {
      if (sqliteCode(error) !== 'SQLITE_FULL') this.suspect = true
    }
  }

  /** Gives free pages back to the disk; what is in use is copied. */
  shrink(tables: SpoolTables): void {
    tables.database.exec('VACUUM')
    makeDurable(tables.database)
    this.logPages = 0
  }

  close(): void {
    const tables = this.opened
    this.opened = null
    tables?.database.close()
  }

  private connect(now: Instant, durability: Durability): void {
    try {
      this.connectOnce(now, durability)
    } catch (error) {
      if (!isDamage(error)) throw error
      this.replace(now)
    }
  }

  private connectOnce(now: Instant, durability: Durability): void {
    this.close()
    const database = openSpoolFile(this.dir, () => newIdentity(this.random))
    this.suspect = true
    try {
      try {
        makeDurable(database)
        this.suspect = false
      } catch (error) {
        if (durability === 'strict' || isDamage(error)) throw error
      }
      this.opened = new SpoolTables(database, this.bootId, now)
      this.logPages = 0
    } catch (error) {
      database.close()
      throw error
    }
  }

  /** Sets the damaged file aside and begins a new spool with an epoch of its own. */
  private replace(now: Instant): void {
    try {
      this.close()
    } catch {
      // A damaged database need not close cleanly; its file is renamed either way.
    }
    this.readErrors = 0
    this.damaged = setAside(this.dir, fileStamp(now.wallMs))
    this.connectOnce(now, 'tolerant')
  }
}

function newIdentity(random: Random): SpoolIdentity {
  return {
    epoch: randomHex(random, 8),
    firstSequences: { priority: firstSequence(random), telemetry: firstSequence(random) },
  }
}

/** Uniform in [2^32, 2^52), so that sequences of two spools hardly ever meet. */
function firstSequence(random: Random): number {
  const bytes = Buffer.from(random.bytes(7))
  const drawn = bytes.readUIntBE(0, 6) * 16 + ((bytes[6] ?? 0) & 15)
  return 2 ** 32 + (drawn % (2 ** 52 - 2 ** 32))
}

/** `20260101T120000Z` */
function fileStamp(wallMs: number): string {
  return new Date(wallMs).toISOString().replaceAll(/[-:]|\.\d+/g, '')
}
