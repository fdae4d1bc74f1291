/** The database of the cores, for commands that open it themselves. */

import { existsSync } from 'node:fs'
import { BusbarError } from '../../shared/errors.ts'
import type { CloudConfig } from '../config.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { missingMigrations } from '../database/migrate.ts'
import { MIGRATIONS } from '../database/migrations/all.ts'
import { parseDatabaseUrl } from '../database/url.ts'

/**
 * A file is made by opening it, so a command that is run elsewhere than the core would have one of its own.
 * @param so what would be wrong with that. @throws BusbarError DATABASE_MISSING
 */
export function requireDatabase({ url, tls }: CloudConfig['database'], so: string): void {
  const parsed = parseDatabaseUrl(url, tls.enabled)
  if (parsed.dialect !== 'sqlite' || existsSync(parsed.path)) return
  throw new BusbarError(`there is no database ${url} here, so ${so}`, {
    code: 'DATABASE_MISSING',
    hint: 'run it in the directory where the core runs, with its config; a core that starts makes the database',
  })
}

/**
 * For who only reads: nothing is migrated, so that a user of the database who may change nothing will do.
 * @throws BusbarError DATABASE_NEWER, DATABASE_OLDER, DATABASE_UNAVAILABLE
 */
export async function requireSchema({ kysely }: Pick<DatabaseHandle, 'kysely'>): Promise<void> {
  const tables = await kysely.introspection.getTables()
  const applied = tables.some(({ name }) => name === 'schema_migrations')
    ? await kysely.selectFrom('schema_migrations').select(['number', 'name']).execute()
    : []
  if (missingMigrations(applied, MIGRATIONS).length === 0) return
  throw new BusbarError('the database has not got the schema of this program', {
    code: 'DATABASE_OLDER',
    hint: '`busbar-cloud migrate` brings it there, as does a core that starts',
  })
}
