/** SQLite for Kysely: one connection, WAL, an fsync for every commit. */

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type QueryResult,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type SqliteStatement,
} from 'kysely'
import { type Clock, sleep } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import { openSqlite } from '../../shared/sqlite.ts'
import { failureKind } from './failure.ts'
import { type StatementWatch, WatchedDriver } from './watched-driver.ts'

/**
 * How long SQLite itself waits for another process's transaction, milliseconds. It waits on our only thread, so the
 * rest of the wait is ours, which lets everything else go on.
 */
const BUSY_BLOCKING_MS = 5
const BUSY_PAUSE_MS = 10
const BUSY_WAIT_MS = 5_000
/** Prepared statements kept; at the limit the oldest is prepared again when next needed. */
const STATEMENTS_MAX = 256

/** The file and its directory are made when the first statement runs. */
export function sqliteDialect(path: string, clock: Clock, watch: StatementWatch): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new WatchedDriver(new PatientDriver(path, clock), watch),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

class PatientDriver extends SqliteDriver {
  private readonly clock: Clock

  constructor(path: string, clock: Clock) {
    super({ database: async () => openFile(path) })
    this.clock = clock
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    return new PatientConnection(await super.acquireConnection(), this.clock)
  }

  /**
   * Begins as a writer. A deferred transaction that reads first and writes later fails at once, however long it would
   * wait, when another process wrote in between.
   */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.rollbackTransaction(connection)
    } catch (error) {
      // A full disk or an I/O error has rolled back already; that error is the one to tell.
      if (!messageOf(error).includes('no transaction is active')) throw error
    }
  }
}

/** Waits for another process's transaction without stopping this one's event loop. */
class PatientConnection implements DatabaseConnection {
  private readonly inner: DatabaseConnection
  private readonly clock: Clock

  constructor(inner: DatabaseConnection, clock: Clock) {
    this.inner = inner
    this.clock = clock
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const giveUpAtMs = this.clock.monotonicMs() + BUSY_WAIT_MS
    for (;;) {
      try {
        return await this.inner.executeQuery<R>(query)
      } catch (error) {
        if (failureKind(error) !== 'contended' || this.clock.monotonicMs() >= giveUpAtMs) throw error
        await sleep(this.clock, BUSY_PAUSE_MS)
      }
    }
  }

  streamQuery<R>(query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<R>> {
    return this.inner.streamQuery<R>(query, chunkSize)
  }
}

function openFile(path: string): SqliteDatabase {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true })
  const file = openSqlite(path, { busyTimeoutMs: BUSY_BLOCKING_MS })
  try {
    file.pragma('journal_mode = WAL')
    file.pragma('synchronous = FULL')
    file.pragma('foreign_keys = ON')
  } catch (error) {
    file.close()
    throw error
  }
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => void file.close(),
    prepare(sql) {
      const known = statements.get(sql)
      if (known !== undefined) return known
      const statement = file.prepare<[readonly unknown[]]>(sql)
      if (statements.size >= STATEMENTS_MAX) statements.delete(statements.keys().next().value as string)
      statements.set(sql, statement)
      return statement
    },
  }
}
