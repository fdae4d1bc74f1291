/** The databases that every store is tested on, each new and empty, closed after the test. */

import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, onTestFinished } from 'vitest'
import { type DatabaseHandle, type DatabaseOptions, openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'

export interface DatabaseUnderTest {
  /** URL of a new database with its tables and nothing in them; opened by several handles it is several cores' database. */
  freshUrl(): Promise<string>
  /** The same without tables, for what is about making them. */
  emptyUrl(): Promise<string>
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

  const emptyFile = async () => `sqlite:${join(dir, `${++files}.db`)}`
  const emptyDatabase = () => (postgres as TestPostgres).freshUrl()
  describe(`${title} on SQLite`, () => {
    const copy = async (url: string) => {
      const copied = await emptyFile()
      copyFileSync(url.replace('sqlite:', ''), copied.replace('sqlite:', ''))
      return copied
    }
    suite(databaseUnderTest({ postgres: null, emptyUrl: emptyFile, copy }))
  })
  describe.skipIf(postgres === null)(`${title} on PostgreSQL`, () => {
    const copy = (url: string) => (postgres as TestPostgres).copyUrl(url)
    suite(databaseUnderTest({ postgres, emptyUrl: emptyDatabase, copy }))
  })
}

function databaseUnderTest(options: {
  readonly postgres: TestPostgres | null
  readonly emptyUrl: () => Promise<string>
  readonly copy: (url: string) => Promise<string>
}): DatabaseUnderTest {
  const { postgres, emptyUrl, copy } = options
  // Making the tables takes longer than most tests: it is done once, and copied.
  let template: Promise<string> | null = null
  const freshUrl = async () => {
    template ??= migrated(await emptyUrl())
    return await copy(await template)
  }
  return {
    postgres,
    freshUrl,
    emptyUrl,
    async open(options = {}) {
      const url = options.url ?? (await freshUrl())
      const handle = openDatabase({ clock: systemClock, log: silentLogger, ...options, url })
      onTestFinished(() => handle.stop())
      await handle.start()
      return handle
    },
  }
}

async function migrated(url: string): Promise<string> {
  const handle = openDatabase({ clock: systemClock, log: silentLogger, url })
  await handle.start()
  await handle.stop()
  return url
}
