/** SQLite for Kysely: one connection, WAL, an fsync for every commit. */

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type SqliteStatement,
} from 'kysely'
import { messageOf } from '../../shared/errors.ts'
import { openSqlite } from '../../shared/sqlite.ts'
import { type StatementWatch, WatchedDriver } from './watched-driver.ts'

/** Prepared statements kept; at the limit the oldest is prepared again when next needed. */
const STATEMENTS_MAX = 256

/** The file and its directory are made when the first statement runs. */
export function sqliteDialect(path: string, watch: StatementWatch): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new WatchedDriver(new ImmediateDriver({ database: async () => openFile(path) }), watch),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

/**
 * Begins every transaction as a writer. A deferred one that reads first and writes later fails at once, whatever the
 * busy timeout, when another process wrote in between.
 */
class ImmediateDriver extends SqliteDriver {
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

function openFile(path: string): SqliteDatabase {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true })
  const file = openSqlite(path)
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
