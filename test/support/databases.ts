/** The databases that every store is tested on, each new and empty, closed after the test. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, onTestFinished } from 'vitest'
import { type DatabaseHandle, type DatabaseOptions, openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'

export interface DatabaseUnderTest {
  /** URL of a new, empty database; closed over by several handles it is several cores' database. */
  freshUrl(): Promise<string>
  /** A started handle, stopped when the test ends; on a fresh database unless `url` is given. */
  open(options?: Partial<DatabaseOptions>): Promise<DatabaseHandle>
  /** The server, where there is one. */
  readonly postgres: TestPostgres | null
}

/** Runs one suite on SQLite and on PostgreSQL; call it once, at the top level of a test file. */
export async function describeOnEveryDatabase(
  title: string,
  suite: (database: DatabaseUnderTest) => void,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-db-'))
  const postgres = await startPostgres()
  let files = 0
  afterAll(async () => {
    await postgres?.stop()
    rmSync(dir, { recursive: true, force: true })
  })

  describe(`${title} on SQLite`, () => {
    suite(databaseUnderTest(null, async () => `sqlite:${join(dir, `${++files}.db`)}`))
  })
  describe.skipIf(postgres === null)(`${title} on PostgreSQL`, () => {
    suite(databaseUnderTest(postgres, () => (postgres as TestPostgres).freshUrl()))
  })
}

function databaseUnderTest(postgres: TestPostgres | null, freshUrl: () => Promise<string>): DatabaseUnderTest {
  return {
    postgres,
    freshUrl,
    async open(options = {}) {
      const url = options.url ?? (await freshUrl())
      const handle = openDatabase({ clock: systemClock, log: silentLogger, ...options, url })
      onTestFinished(() => handle.stop())
      await handle.start()
      return handle
    },
  }
}
