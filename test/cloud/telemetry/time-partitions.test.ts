import { sql } from 'kysely'
import { expect, it } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { Retention } from '../../../cloud/telemetry/retention.ts'
import { TimePartitions } from '../../../cloud/telemetry/time-partitions.ts'
import { partitionName, STRETCHED_TABLES, stretchOf } from '../../../cloud/telemetry/time-stretches.ts'
import { systemClock } from '../../../shared/clock.ts'
import {
  consumed,
  expectedRollups,
  handedBatches,
  type PlainReading,
  storedReadings,
  storedRollups,
} from '../../support/analytics-batches.ts'
import { analyticsSettings } from '../../support/analytics-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readingRecord } from '../../support/device-records.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const DAY_MS = 86_400_000
const NOW_MS = Date.UTC(2026, 5, 15, 12)
const never = new AbortController().signal

const reading = (deviceId: number, atMs: number, seq: number): PlainReading => {
  return { deviceId, atMs, seq, fields: { a: seq } }
}
const recordsOf = (readings: readonly PlainReading[]) => consumed(readings.map((each) => readingRecord(each)))
const stretches = async ({ kysely }: DatabaseHandle, table: string): Promise<string[]> => {
  const rows = await kysely.selectFrom('time_partitions').select('from_ms').where('table_name', '=', table).execute()
  return rows.map((row) => new Date(row.from_ms).toISOString().slice(0, 10)).sort()
}
const noSettings = {
  rawDays: 30,
  rollup1mDays: 90,
  rollup15mDays: 730,
  rollup1hDays: 3_650,
  rollup1dDays: 36_500,
}

it('stretches hold whole buckets, follow one another without a hole, and are named for their first day', () => {
  const resolutions = {
    readings: 1,
    rollups_1m: 60_000,
    rollups_15m: 900_000,
    rollups_1h: 3_600_000,
    rollups_1d: DAY_MS,
  }
  for (const table of STRETCHED_TABLES) {
    const stretch = stretchOf(table, NOW_MS)
    expect(stretch.fromMs % resolutions[table.table]).toBe(0)
    expect(table.lengthMs % resolutions[table.table]).toBe(0)
    expect(stretchOf(table, stretch.toMs - 1)).toEqual(stretch)
    expect(stretchOf(table, stretch.toMs).fromMs).toBe(stretch.toMs)
  }
  expect(partitionName({ table: 'readings', fromMs: Date.UTC(2026, 0, 31), toMs: 0 })).toBe('readings_2026_01_31')
})

await describeOnEveryDatabase('tables by time', (database) => {
  it('get a stretch when it is first written to, and keep none that is old and quiet', async () => {
    const handle = await database.open()
    const clock = new ManualClock(NOW_MS)
    const core = await handedBatches(handle, { clock, settings: { ...analyticsSettings, ...noSettings } })
    const today = [reading(1, NOW_MS, 1), reading(2, NOW_MS, 2)]
    // More of one device than are deleted at once.
    const old = Array.from({ length: 2_500 }, (_, i) => reading(2, NOW_MS - 40 * DAY_MS + i * 10, 10 + i))
    const readings = [...today, reading(1, NOW_MS - 29 * DAY_MS, 3), reading(1, NOW_MS - 31 * DAY_MS, 4), ...old]
    await core.deliver(recordsOf(readings))
    await core.analytics.rollUp()
    expect(await stretches(handle, 'readings')).toEqual(['2026-05-06', '2026-05-15', '2026-05-17', '2026-06-15'])
    const all = await Promise.all(STRETCHED_TABLES.map(async ({ table }) => (await stretches(handle, table)).length))
    expect(core.analytics.stats().partitions).toBe(all.reduce((sum, count) => sum + count))
    if (database.postgres !== null) {
      const attached = await sql<{ name: string }>`
        select inhrelid::regclass::text as name from pg_inherits where inhparent = 'readings'::regclass order by 1`.execute(
        handle.kysely,
      )
      expect(attached.rows.map(({ name }) => name)).toContain('readings_2026_06_15')
    }

    const retention = new Retention({ database: handle, settings: noSettings, clock: systemClockAt(clock) })
    // What was just written stays, since its batch may come again.
    await retention.run(never)
    expect((await storedReadings(handle)).length).toBe(readings.length)

    clock.advance(2 * DAY_MS + 1)
    const late = reading(3, NOW_MS - 31 * DAY_MS, 9)
    await core.deliver(recordsOf([late]))
    await core.analytics.rollUp()
    await retention.run(never)
    expect(await stretches(handle, 'readings')).toEqual(['2026-05-15', '2026-06-15'])
    const kept = await storedReadings(handle)
    // The day that something came for of late stays whole; of the roll-ups all stay, which are kept for longer.
    expect(kept.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual([1, 2, 4, 9])
    expect(await storedRollups(handle)).toEqual(expectedRollups([...readings, late]))

    // The clock alone does not make them old: it may be wrong, and nothing newer has come.
    clock.advance(100 * DAY_MS)
    await retention.run(never)
    expect((await storedReadings(handle)).length).toBe(kept.length)
    await core.deliver(recordsOf([reading(7, NOW_MS + 102 * DAY_MS, 50)]))
    await core.analytics.rollUp()
    await retention.run(never)
    expect((await storedReadings(handle)).map(({ seq }) => seq)).toEqual([50])
    expect((await stretches(handle, 'rollups_1m')).length).toBe(1)
    const left = Object.keys(await storedRollups(handle))
      .map((key) => key.split('/'))
      .flatMap(([resolution, deviceId]) => (deviceId === '7' ? [] : [resolution]))
    expect([...new Set(left)].sort()).toEqual(['15m', '1d', '1h'])
    // What was dropped can be written to again.
    await core.deliver(recordsOf([reading(1, NOW_MS, 99)]))
    expect((await storedReadings(handle)).length).toBe(2)
  })

  it('is noted once an hour when they are written to', async () => {
    const handle = await database.open()
    const clock = new ManualClock(NOW_MS)
    const partitions = new TimePartitions({ database: handle, clock })
    const writtenAtMs = async () => {
      const query = handle.kysely.selectFrom('time_partitions').select('written_at_ms')
      return (await query.where('table_name', '=', 'readings').executeTakeFirstOrThrow()).written_at_ms
    }
    await partitions.ensure([NOW_MS])
    clock.advance(3_599_000)
    await partitions.ensure([NOW_MS])
    expect(await writtenAtMs()).toBe(NOW_MS)
    clock.advance(1_000)
    await partitions.ensure([NOW_MS])
    expect(await writtenAtMs()).toBe(NOW_MS + 3_600_000)
  })

  it('are made by many cores at once', async () => {
    const url = await database.freshUrl()
    const handles = await Promise.all(Array.from({ length: 4 }, () => database.open({ url })))
    const days = Array.from({ length: 10 }, (_, i) => NOW_MS - i * DAY_MS)
    const cores = handles.map((handle) => new TimePartitions({ database: handle, clock: systemClock }))
    await Promise.all(cores.map((core) => core.ensure(days)))
    expect((await stretches(handles[0] as DatabaseHandle, 'readings')).length).toBe(10)
  })

  const { postgres } = database
  if (postgres !== null) {
    it('get a partition back that somebody dropped, and the write goes on', async () => {
      const handle = await database.open()
      const core = await handedBatches(handle, { clock: new ManualClock(NOW_MS) })
      await core.deliver(recordsOf([reading(1, NOW_MS, 1)]))
      await sql`drop table readings_2026_06_15`.execute(handle.kysely)
      await sql`drop table rollups_1m_2026_06_11`.execute(handle.kysely)
      await core.deliver(recordsOf([reading(1, NOW_MS + 1, 2)]))
      await core.analytics.rollUp()
      expect((await storedReadings(handle)).map(({ seq }) => seq)).toEqual([2])
      expect(Object.keys(await storedRollups(handle)).length).toBe(4)
    })

    it('are not dropped while somebody reads them, and writers do not wait for that', async () => {
      const handle = await database.open()
      const clock = new ManualClock(NOW_MS)
      const core = await handedBatches(handle, { clock })
      await core.deliver(recordsOf([reading(1, NOW_MS - 40 * DAY_MS, 1), reading(1, NOW_MS, 2)]))
      await core.analytics.rollUp()
      clock.advance(3 * DAY_MS)
      const retention = new Retention({ database: handle, settings: noSettings, clock: systemClockAt(clock) })
      await handle.kysely.transaction().execute(async (transaction) => {
        await transaction.selectFrom('readings').select('seq').execute()
        const dropping = retention.run(never).then(
          () => null,
          (error: unknown) => error,
        )
        await core.deliver(recordsOf([reading(1, NOW_MS, 3)]))
        expect(await dropping).toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true })
      })
      await retention.run(never)
      expect((await storedReadings(handle)).map(({ seq }) => seq)).toEqual([2, 3])
    })
  }
})

/** The wall clock of a manual clock, with pauses that end. */
function systemClockAt(clock: ManualClock): typeof systemClock {
  return { ...systemClock, wallMs: () => clock.wallMs() }
}
