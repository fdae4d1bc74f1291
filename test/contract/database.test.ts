import { expect, it } from 'vitest'
import { openDatabase } from '../../cloud/database/database.ts'
import { isDuplicate } from '../../cloud/database/failure.ts'
import type { Migration } from '../../cloud/database/migrate.ts'
import { MIGRATIONS } from '../../cloud/database/migrations/all.ts'
import { systemClock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { silentLogger } from '../../shared/log.ts'
import { describeOnEveryDatabase } from '../support/databases.ts'
import { until } from '../support/until.ts'

const site = (id: number) => ({ id, name: `Site ${id}`, created_at_ms: 1, updated_at_ms: 1 })

await describeOnEveryDatabase('the database', (database) => {
  it('gives whole numbers up to 2^53 back as numbers', async () => {
    const { kysely } = await database.open()
    const gap = { gateway_id: 'g', epoch: 'e', lane: 'telemetry', first_sequence: 2 ** 53 - 1, record_count: 2 ** 40 }
    await kysely
      .insertInto('gateway_gaps')
      .values({ ...gap, reason: 'age', at_ms: 5, recorded_at_ms: 6 })
      .execute()
    expect(await kysely.selectFrom('gateway_gaps').selectAll().executeTakeFirst()).toMatchObject(gap)
    const count = await kysely
      .selectFrom('gateway_gaps')
      .select((e) => e.fn.countAll<number>().as('rows'))
      .executeTakeFirst()
    expect(count).toEqual({ rows: 1 })
  })

  it('migrates once: doing it again changes nothing', async () => {
    const url = await database.emptyUrl()
    const first = await database.open({ url })
    await first.kysely.insertInto('sites').values(site(1)).execute()
    const second = await database.open({ url })
    expect(await second.kysely.selectFrom('sites').select('id').execute()).toEqual([{ id: 1 }])
    expect(await second.kysely.selectFrom('schema_migrations').select('number').execute()).toHaveLength(
      MIGRATIONS.length,
    )
  })

  it('may be migrated by many cores at once', async () => {
    const url = await database.emptyUrl()
    const handles = await Promise.all(Array.from({ length: 5 }, () => database.open({ url })))
    for (const { kysely } of handles) {
      expect(await kysely.selectFrom('schema_migrations').select('number').execute()).toHaveLength(MIGRATIONS.length)
    }
  })

  it('is left as it was when a migration fails', async () => {
    const url = await database.freshUrl()
    await database.open({ url })
    const broken: Migration = {
      number: MIGRATIONS.length + 1,
      name: 'broken',
      async up(schema) {
        await schema.createTable('half').addColumn('id', 'integer').execute()
        throw new Error('no further')
      },
    }
    await expect(database.open({ url, migrations: [...MIGRATIONS, broken] })).rejects.toThrow('no further')
    const { kysely } = await database.open({ url })
    expect((await kysely.introspection.getTables()).map(({ name }) => name)).not.toContain('half')
  })

  it('refuses a database that a newer program has migrated, and says so', async () => {
    const url = await database.freshUrl()
    const next: Migration = { number: MIGRATIONS.length + 1, name: 'tomorrow', up: async () => undefined }
    await database.open({ url, migrations: [...MIGRATIONS, next] })
    const refusal = await database.open({ url }).catch((error) => error)
    expect(refusal).toBeInstanceOf(BusbarError)
    expect(refusal).toMatchObject({ code: 'DATABASE_NEWER', retryable: false })
    expect(refusal.message).toContain('"tomorrow"')
  })

  it('undoes the whole of a failed transaction', async () => {
    const handle = await database.open()
    const failing = handle.transaction(async (transaction) => {
      await transaction.insertInto('sites').values(site(1)).execute()
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    expect(await handle.kysely.selectFrom('sites').selectAll().execute()).toEqual([])
  })

  it('lets transactions that read before they write run side by side', async () => {
    const url = await database.freshUrl()
    const cores = await Promise.all([database.open({ url }), database.open({ url })])
    await (cores[0] as (typeof cores)[0]).kysely.insertInto('sites').values(site(1)).execute()
    const rename = (core: (typeof cores)[0], name: string) =>
      core.transaction(async (transaction) => {
        await transaction.selectFrom('sites').selectAll().execute()
        await transaction.updateTable('sites').set({ name }).where('id', '=', 1).execute()
      })
    await Promise.all(cores.flatMap((core) => Array.from({ length: 10 }, (_, i) => rename(core, `name ${i}`))))
  })

  it('tells a duplicate key from other errors', async () => {
    const { kysely } = await database.open()
    await kysely.insertInto('sites').values(site(1)).execute()
    const error = await kysely
      .insertInto('sites')
      .values(site(1))
      .execute()
      .catch((caught) => caught)
    expect(isDuplicate(error)).toBe(true)
    const other = await kysely
      .selectFrom('nowhere' as 'sites')
      .selectAll()
      .execute()
      .catch((caught) => caught)
    expect(other).toBeInstanceOf(Error)
    expect(isDuplicate(other)).toBe(false)
  })

  it('never gives a device id twice', async () => {
    const { kysely } = await database.open()
    await kysely.insertInto('sites').values(site(1)).execute()
    const device = { site_id: 1, serial_number: 'A', device_type: 'METER', created_at_ms: 1, updated_at_ms: 1 }
    const first = await kysely.insertInto('devices').values(device).returning('id').executeTakeFirstOrThrow()
    await kysely.deleteFrom('devices').execute()
    const second = await kysely.insertInto('devices').values(device).returning('id').executeTakeFirstOrThrow()
    expect(second.id).toBeGreaterThan(first.id)
  })

  it('starts and stops any number of times', async () => {
    const handle = openDatabase({ url: await database.freshUrl(), clock: systemClock, log: silentLogger })
    expect(handle.health().state).toBe('down')
    await Promise.all([handle.start(), handle.start()])
    expect(handle.health()).toEqual({ state: 'up' })
    await Promise.all([handle.stop(), handle.stop()])
    expect(handle.health().state).toBe('down')
  })

  it('says so when the database will not have us', async () => {
    const url = (await database.freshUrl()).replace(/\/[^/]*$/, '/') + (database.postgres === null ? '' : 'nowhere')
    const refusal = expect.objectContaining({ code: 'DATABASE_REFUSED', hint: expect.stringContaining('database.url') })
    await expect(database.open({ url })).rejects.toEqual(refusal)
  })

  const { postgres } = database
  // SQLite has no server that could be killed.
  if (postgres !== null) {
    it('is unavailable, then back, when its server is killed and started again', async () => {
      const handle = await database.open({ probePeriodMs: 20 })
      // One connection is lent out, in the middle of a transaction, when the server dies.
      const interrupted = handle.transaction(async (transaction) => {
        await transaction.insertInto('sites').values(site(1)).execute()
        await postgres.kill()
        await until(() => handle.health().state === 'down', { what: 'health sees the death' })
        await transaction.insertInto('sites').values(site(2)).execute()
      })
      await expect(interrupted).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true })
      const query = handle.kysely.selectFrom('sites').selectAll()
      await expect(query.execute()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true })
      expect(handle.health().detail).not.toContain('test-only')

      await postgres.restart()
      await until(() => handle.health().state === 'up', { what: 'health sees the return' })
      expect(await query.execute()).toEqual([])
    })

    it('is unavailable while its server is frozen, and does not wait for it for ever', async () => {
      const handle = await database.open({ probePeriodMs: 20, connectTimeoutMs: 300, queryTimeoutMs: 600 })
      const query = handle.kysely.selectFrom('sites').selectAll()
      await query.execute()
      await postgres.freeze()
      try {
        await expect(query.execute()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true })
        await until(() => handle.health().state === 'down', { what: 'health sees the frost' })
      } finally {
        await postgres.thaw()
      }
      await until(() => handle.health().state === 'up', { what: 'health sees the thaw' })
      expect(await query.execute()).toEqual([])
    })

    it('waits at its start for a server that comes later', async () => {
      const url = await database.freshUrl()
      await postgres.kill()
      const opening = database.open({ url })
      await postgres.restart()
      expect((await opening).health()).toEqual({ state: 'up' })
    })
  }
})
