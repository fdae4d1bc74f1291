/**
 * Bringing a database to this program's schema. All missing migrations run in one transaction under a lock, so any
 * number of cores may start at once, and one that dies half-way leaves nothing behind.
 */

import { type Kysely, type SchemaModule, sql, type Transaction } from 'kysely'
import { BusbarError } from '../../shared/errors.ts'
import type { Database, Dialect } from './schema.ts'

export interface Migration {
  /** Ascending from 1 without holes. */
  readonly number: number
  readonly name: string
  up(schema: SchemaModule, dialect: Dialect, transaction: Transaction<Database>): Promise<void>
}

/** Key of the advisory lock that one migrating core holds; any constant of our own would do. */
const ADVISORY_LOCK = 0x62757362

export interface MigrateOptions {
  readonly kysely: Kysely<Database>
  readonly dialect: Dialect
  readonly migrations: readonly Migration[]
  /** Unix milliseconds, written beside what is applied now. */
  readonly nowMs: number
}

/**
 * Applies what is missing and returns it; nothing when the database is up to date.
 * @throws BusbarError DATABASE_NEWER when the database knows a migration that this program does not.
 */
export async function migrate(options: MigrateOptions): Promise<readonly Migration[]> {
  const { kysely, dialect, migrations, nowMs } = options
  return await kysely.transaction().execute(async (transaction) => {
    // On SQLite the transaction itself is the lock: it began as a writer.
    if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${ADVISORY_LOCK})`.execute(transaction)
    await transaction.schema
      .createTable('schema_migrations')
      .ifNotExists()
      .addColumn('number', 'integer', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('applied_at_ms', 'bigint', (column) => column.notNull())
      .execute()
    const applied = await transaction.selectFrom('schema_migrations').select(['number', 'name']).execute()
    const missing = missingMigrations(applied, migrations)
    for (const { number, name, up } of missing) {
      await up(transaction.schema, dialect, transaction)
      await transaction.insertInto('schema_migrations').values({ number, name, applied_at_ms: nowMs }).execute()
    }
    return missing
  })
}

/** What `migrations` has and the database has not; refuses a database of a later or of another program. */
export function missingMigrations(
  applied: readonly { number: number; name: string }[],
  migrations: readonly Migration[],
): readonly Migration[] {
  const known = new Map(migrations.map((migration) => [migration.number, migration]))
  const last = migrations.at(-1)?.number ?? 0
  for (const { number, name } of applied) {
    if (known.get(number)?.name === name) continue
    throw new BusbarError(
      `the database has migration ${number} "${name}", but this program knows migrations up to ${last} only`,
      {
        code: 'DATABASE_NEWER',
        hint: 'run the newer busbar-cloud that migrated it, or restore the backup from before',
      },
    )
  }
  const done = new Set(applied.map(({ number }) => number))
  return migrations.filter(({ number }) => !done.has(number))
}
