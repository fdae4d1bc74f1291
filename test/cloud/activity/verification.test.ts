import { sql } from 'kysely'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { ActivityRow } from '../../../cloud/activity/activity-rows.ts'
import { ACTIVITY_COLUMNS } from '../../../cloud/activity/activity-rows.ts'
import { type DayRow, dayMac, entryDigest, entryHash } from '../../../cloud/activity/chain.ts'
import { readHeads } from '../../../cloud/activity/verification.ts'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { type ActivityCore, activityCore, checkedActivity, found } from '../../support/activity-log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const [FIRST, SECOND, THIRD] = ['2026-01-01', '2026-01-02', '2026-01-03'] as const
const ENTRIES_A_DAY = 6

await describeOnEveryDatabase('the verification of the activity log', (databases) => {
  let database: DatabaseHandle
  let core: ActivityCore
  let written: { logs: ActivityRow[]; days: DayRow[] }
  const clock = new ManualClock(Date.UTC(2026, 0, 1, 12))

  beforeAll(async () => {
    database = openDatabase({ url: await databases.freshUrl(), clock: systemClock, log: silentLogger })
    await database.start()
    core = activityCore(database, clock)
    for (const day of [FIRST, SECOND, THIRD]) {
      for (const half of ['a', 'b']) {
        await core.append([1, 2, 3].map((each) => checkedActivity(`evt_${day}_${half}${each}`)))
      }
      clock.advance(86_400_000)
    }
    const { kysely } = database
    written = {
      logs: await kysely.selectFrom('activity_logs').selectAll().orderBy('day').orderBy('place').execute(),
      days: await kysely.selectFrom('activity_days').selectAll().orderBy('day').execute(),
    }
  })
  afterAll(() => database.stop())

  beforeEach(async () => {
    const { kysely } = database
    await kysely.deleteFrom('activity_logs').execute()
    await kysely.deleteFrom('activity_days').execute()
    await kysely.insertInto('activity_logs').values(written.logs).execute()
    await kysely.insertInto('activity_days').values(written.days).execute()
  })

  const run = (statement: ReturnType<typeof sql>) => statement.execute(database.kysely)
  const verified = async () => found(await core.verify())
  const at = (day: string, place: number) => sql`day = ${day} and place = ${place}`
  const put = (column: string, value: unknown, day: string, place: number) =>
    run(sql`update activity_logs set ${sql.ref(column)} = ${value} where ${at(day, place)}`)

  test('finds nothing in a log that is as it was written, and tells its heads', async () => {
    const progress: number[] = []
    const report = await core.verify({ onProgress: (done, total) => progress.push(done / total) })
    expect(report).toMatchObject({ findings: [], findingsTotal: 0, entries: 3 * ENTRIES_A_DAY })
    expect(report.days.map(({ day, headHash }) => ({ day, headHash }))).toEqual(
      written.days.map(({ day, head_hash: headHash }) => ({ day, headHash })),
    )
    expect(progress.at(-1)).toBe(1)
    const second = await core.verify({ fromDay: SECOND, toDay: SECOND })
    expect(second).toMatchObject({ findings: [], entries: ENTRIES_A_DAY })
  })

  test('an edit of any column is found at its day and place', async () => {
    const columns = Object.entries(ACTIVITY_COLUMNS).filter(([column]) => !['day', 'place'].includes(column))
    for (const [column, type] of columns) {
      const value = type === 'bigint' ? 99 : `${written.logs[9]?.[column as 'sealed']}x`
      await put(column, value, SECOND, 4)
      expect(await verified(), column).toEqual([`ENTRY_CHANGED ${SECOND}/4`])
      await put(column, written.logs[9]?.[column as 'sealed'], SECOND, 4)
    }
    for (const column of ['outcome', 'object_id', 'sealed']) {
      await put(column, null, SECOND, 4)
      expect(await verified(), column).toEqual([`ENTRY_CHANGED ${SECOND}/4`])
      await put(column, written.logs[9]?.[column as 'sealed'], SECOND, 4)
    }
    expect(await verified()).toEqual([])
  })

  test('a text that was made bytes, which no question finds, is no more what was written', async () => {
    // PostgreSQL has columns that take nothing else.
    if (database.dialect !== 'sqlite') return
    await run(sql`update activity_logs set user_id = cast(user_id as blob) where ${at(SECOND, 4)}`)
    expect(await verified()).toEqual([`ENTRY_CHANGED ${SECOND}/4`])
  })

  test('what moves between two columns does not stay the same', async () => {
    await run(sql`update activity_logs set object_type = null, object_id = ${'device'} where ${at(FIRST, 1)}`)
    await run(sql`update activity_logs set source = '', recorded_by = null where ${at(FIRST, 6)}`)
    expect(await verified()).toEqual([`ENTRY_CHANGED ${FIRST}/1`, `ENTRY_CHANGED ${FIRST}/6`])
  })

  test('entries that were deleted are found: in the middle, the first, the newest', async () => {
    await run(sql`delete from activity_logs where day = ${FIRST} and place in (1, 3, 4)`)
    await run(sql`delete from activity_logs where ${at(THIRD, ENTRIES_A_DAY)}`)
    expect(await verified()).toEqual([
      `ENTRY_MISSING ${FIRST}/1`,
      `ENTRY_MISSING ${FIRST}/3-4`,
      `ENTRY_MISSING ${THIRD}/6`,
    ])
  })

  test('an entry that was moved to another day is missed there and too much here', async () => {
    await run(sql`update activity_logs set day = ${SECOND}, place = 7 where ${at(FIRST, 6)}`)
    expect(await verified()).toEqual([`ENTRY_MISSING ${FIRST}/6`, `ENTRY_ADDED ${SECOND}/7`])
  })

  test('the newest entry is missed as well when the row of the day was made to fit', async () => {
    await run(sql`delete from activity_logs where ${at(THIRD, 6)}`)
    const head = written.logs.at(-2)?.hash
    await run(sql`update activity_days set entries = 5, head_hash = ${head} where day = ${THIRD}`)
    expect(await verified()).toEqual([`DAY_CHANGED ${THIRD}`])
    // What comes after does not cover it up.
    await core.append([checkedActivity('evt_later')])
    expect(await verified()).toContain(`DAY_CHANGED ${THIRD}`)
  })

  test('entries that changed places are found, whether their hashes went with them or not', async () => {
    for (const [from, to] of [
      [2, 99],
      [5, 2],
      [99, 5],
    ] as const) {
      await put('place', to, FIRST, from)
    }
    // Those behind them follow a hash that is not before them any more.
    expect(await verified()).toEqual([2, 3, 5, 6].map((place) => `ENTRY_CHANGED ${FIRST}/${place}`))
    for (const place of [2, 5]) await put('hash', written.logs[place - 1]?.hash, FIRST, place)
    expect(await verified()).toEqual([`ENTRY_CHANGED ${FIRST}/2`, `ENTRY_CHANGED ${FIRST}/5`])
  })

  test('entries that were put in are found, and stop nobody from adding to the log', async () => {
    const [some] = written.logs as [ActivityRow]
    const put = (row: Partial<ActivityRow>) =>
      database.kysely
        .insertInto('activity_logs')
        .values({ ...some, ...row })
        .execute()
    await put({ event_id: 'evt_forged', place: 7 })
    await put({ event_id: 'evt_zero', place: 0 })
    await put({ event_id: 'evt_newest', day: THIRD, place: 7 })
    await put({ event_id: 'evt_unknown', day: '2025-12-31', place: 1 })
    await put({ event_id: 'evt_nowhere', day: '', place: 1 })
    expect((await verified()).sort()).toEqual([
      'DAY_CHANGED ',
      'DAY_CHANGED 2025-12-31',
      `ENTRY_ADDED ${FIRST}/0`,
      `ENTRY_ADDED ${FIRST}/7`,
      `ENTRY_ADDED ${THIRD}/7`,
    ])
    const behind = activityCore(database, { wallMs: () => 0 })
    expect(await behind.append([checkedActivity('evt_later')])).toEqual(['evt_later'])
    expect(await verified()).toContain(`ENTRY_CHANGED ${THIRD}/7`)
  })

  test('a log whose newest day was changed goes on, and stays known as changed', async () => {
    await run(sql`update activity_days set key_id = 'other' where day = ${THIRD}`)
    const behind = activityCore(database, { wallMs: () => 0 })
    for (const id of ['evt_1', 'evt_2']) await behind.append([checkedActivity(id)])
    expect(await verified()).toEqual([`DAY_CHANGED ${THIRD}`])
  })

  test('an entry hashed anew without the key is found', async () => {
    const row = { ...written.logs[17], user_id: 'mallory' } as ActivityRow
    const key = Buffer.alloc(32)
    const hash = entryHash(key, written.logs[16]?.hash as string, THIRD, 6, entryDigest(row))
    await run(sql`update activity_logs set user_id = ${row.user_id}, hash = ${hash} where ${at(THIRD, 6)}`)
    const day = { ...written.days[2], head_hash: hash } as DayRow
    await run(sql`update activity_days set head_hash = ${hash}, mac = ${dayMac(key, day)} where day = ${THIRD}`)
    expect(await verified()).toEqual([`DAY_CHANGED ${THIRD}`, `ENTRY_CHANGED ${THIRD}/6`])
  })

  test('a day that is gone whole is found by the one after it; the newest by a report of earlier', async () => {
    const earlier = readHeads(JSON.parse(JSON.stringify(await core.verify())))
    for (const day of [SECOND, FIRST]) {
      await run(sql`delete from activity_days where day = ${day}`)
      await run(sql`delete from activity_logs where day = ${day}`)
      expect(await verified()).toEqual([`DAY_MISSING ${THIRD}`])
    }
    await run(sql`delete from activity_days`)
    await run(sql`delete from activity_logs`)
    expect(await verified()).toEqual([])
    const report = await core.verify({ against: earlier })
    expect(found(report)).toEqual([FIRST, SECOND, THIRD].map((day) => `HEAD_MISSING ${day}/6`))
    // Written anew, with the key, by the program itself: the hashes are others.
    await core.append([checkedActivity('evt_new')])
    expect(found(await core.verify({ against: earlier }))).toHaveLength(3)
  })

  test('a report of earlier holds while the log grows', async () => {
    const earlier = readHeads(await core.verify())
    const later = activityCore(database, { wallMs: () => 0 })
    await later.append([checkedActivity('evt_later')])
    expect(found(await core.verify({ against: earlier }))).toEqual([])
    await put('hash', '0'.repeat(64), THIRD, 6)
    expect(found(await core.verify({ against: earlier }))).toContain(`HEAD_MISSING ${THIRD}/6`)
    expect(() => readHeads({ days: [{ day: 'x' }] })).toThrow(
      expect.objectContaining({ code: 'ACTIVITY_REPORT_INVALID' }),
    )
  })

  test('an edit of any column of a day is found, pretending that it was purged as well', async () => {
    const changes = { key_id: 'other', previous_hash: '1'.repeat(64), entries: 5, head_hash: '1'.repeat(64), mac: 'x' }
    for (const [column, value] of Object.entries(changes)) {
      await run(sql`update activity_days set ${sql.ref(column)} = ${value} where day = ${SECOND}`)
      expect(await verified(), column).toContain(`DAY_CHANGED ${SECOND}`)
      const before = written.days[1]?.[column as 'mac']
      await run(sql`update activity_days set ${sql.ref(column)} = ${before} where day = ${SECOND}`)
    }
    await run(sql`delete from activity_logs where day = ${SECOND}`)
    // Also at a time that no calendar has, which is no reason to tell nothing.
    for (const ms of [1, 9_000_000_000_000_000]) {
      await run(sql`update activity_days set purged_at_ms = ${ms} where day = ${SECOND}`)
      expect(await verified()).toEqual([`DAY_CHANGED ${SECOND}`])
    }
  })
})
