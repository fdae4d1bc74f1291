import { expect, test } from 'vitest'
import { entryOf } from '../../../cloud/activity/activity-rows.ts'
import { ActivitySeal } from '../../../cloud/activity/activity-seal.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { systemRandom } from '../../../shared/random.ts'
import { activityCore, activityKeys, checkedActivity, found, NEW_KEY, OLD_KEY } from '../../support/activity-log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { seededRandom } from '../../support/seeded-random.ts'

const rowsOf = ({ kysely }: DatabaseHandle) =>
  kysely.selectFrom('activity_logs').selectAll().orderBy('day').orderBy('place').execute()

await describeOnEveryDatabase('the store of activities', (databases) => {
  test('an entry that comes twice is stored once, in the order given, with what is sensitive sealed', async () => {
    const database = await databases.open()
    const core = activityCore(database, new ManualClock(Date.UTC(2026, 0, 31, 23)))
    const [a, b, c] = ['evt_a', 'evt_b', 'evt_c'].map((id) => checkedActivity(id))
    expect(await core.append([b, a, b] as never)).toEqual(['evt_b', 'evt_a'])
    expect(await core.append([a, c, b] as never)).toEqual(['evt_c'])
    expect(await core.append([a] as never)).toEqual([])
    const rows = await rowsOf(database)
    expect(rows.map(({ event_id, day, place }) => `${event_id} ${day}/${place}`)).toEqual([
      'evt_b 2026-01-31/1',
      'evt_a 2026-01-31/2',
      'evt_c 2026-01-31/3',
    ])
    expect(JSON.stringify(rows)).not.toMatch(/192\.0\.2|Mozilla/)
    const opened = entryOf(rows[0] as never, new ActivitySeal(core.keys, systemRandom))
    expect(opened).toMatchObject({ ...b, sealed: false, place: 1 })
    expect(entryOf(rows[0] as never)).toMatchObject({ metadata: { sessionId: 'sess_1' }, sealed: true })
  })

  test('what text columns and metadata may hold is stored as it is, or as near as it can be', async () => {
    const database = await databases.open()
    const core = activityCore(database, new ManualClock())
    const metadata = JSON.parse('{"__proto__":{"a":1},"n":1e21,"t":"\\u0000\\ud800 \\u2028","ipAddress":null}')
    const source = 'kcat\0 é€𝄞 \ud800'
    await core.append([checkedActivity('evt_a', { metadata, source, outcome: null, siteId: null, objectId: null })])
    const [row] = await rowsOf(database)
    expect(row).toMatchObject({ source: 'kcat é€𝄞 \ufffd', outcome: null, site_id: null, object_id: null })
    const entry = entryOf(row as never, new ActivitySeal(core.keys, systemRandom))
    expect(JSON.stringify(entry.metadata)).toBe(JSON.stringify(metadata))
    expect(found(await core.verify())).toEqual([])
  })

  test('at midnight a new chain follows the old one; a clock that goes back changes nothing of that', async () => {
    const database = await databases.open()
    const clock = new ManualClock(Date.UTC(2026, 0, 31, 23, 59, 59))
    const core = activityCore(database, clock)
    const behind = activityCore(database, { wallMs: () => Date.UTC(2026, 0, 30) })
    await core.append([checkedActivity('evt_1')])
    clock.advance(2_000)
    await core.append([checkedActivity('evt_2')])
    await behind.append([checkedActivity('evt_3')])
    clock.stepWall(-3_600_000)
    await core.append([checkedActivity('evt_4')])
    const days = await database.kysely.selectFrom('activity_days').selectAll().orderBy('day').execute()
    expect(days.map(({ day, entries }) => `${day} ${entries}`)).toEqual(['2026-01-31 1', '2026-02-01 3'])
    expect(days[1]?.previous_hash).toBe(days[0]?.head_hash)
    expect(await core.verify()).toMatchObject({ findingsTotal: 0, entries: 4 })
  })

  test('with a new key in front old days go on with the old one, and without that it says which is missing', async () => {
    const database = await databases.open()
    const clock = new ManualClock()
    await activityCore(database, clock).append([checkedActivity('evt_1')])
    const both = activityCore(database, clock, activityKeys(NEW_KEY, OLD_KEY))
    await both.append([checkedActivity('evt_2')])
    clock.advance(86_400_000)
    await both.append([checkedActivity('evt_3')])
    expect(await both.verify()).toMatchObject({ findingsTotal: 0, entries: 3 })
    const seal = new ActivitySeal(both.keys, systemRandom)
    for (const row of await rowsOf(database)) expect(entryOf(row, seal).metadata).toHaveProperty('ipAddress')

    const keys = activityKeys(NEW_KEY)
    const alone = activityCore(database, clock, keys)
    await alone.append([checkedActivity('evt_4')])
    const [oldId] = activityKeys(OLD_KEY).chain.map(({ id }) => id)
    const { days } = await alone.verify()
    expect(days.map(({ unable }) => unable)).toEqual([expect.stringContaining(oldId as string), null])
    const reasons: string[] = []
    const newSeal = new ActivitySeal(keys, systemRandom)
    const entries = (await rowsOf(database)).map((row) => entryOf(row, newSeal, (reason) => reasons.push(reason)))
    expect(entries.map(({ sealed }) => sealed)).toEqual([true, false, false, false])
    expect(reasons).toEqual([expect.stringMatching(/evt_1.*not in activity\.keys/)])

    const other = activityCore(database, clock, activityKeys(OLD_KEY))
    await expect(other.append([checkedActivity('evt_5')])).rejects.toMatchObject({
      code: 'ACTIVITY_KEY_MISSING',
      retryable: true,
    })
  })

  test('batches of two cores at once, with entries in both, are one chain in which each core’s order is kept', async () => {
    const random = seededRandom(20260131)
    const url = await databases.freshUrl()
    const clock = new ManualClock(Date.UTC(2026, 0, 31, 23, 59))
    const handles = [await databases.open({ url }), await databases.open({ url })]
    const stored = await Promise.all(
      handles.map(async (database, index) => {
        const core = activityCore(database, clock)
        const ids: string[] = []
        let own = 0
        for (let batch = 0; batch < 12; batch++) {
          const size = 1 + Math.floor(random.fraction() * 30)
          const activities = Array.from({ length: size }, () => {
            const shared = random.fraction() < 0.3
            const id = shared ? `evt_both_${Math.floor(random.fraction() * 60)}` : `evt_${index}_${++own}`
            return checkedActivity(id, { userId: `user${index}` })
          })
          ids.push(...(await core.append(activities)))
          if (random.fraction() < 0.2) clock.advance(60_000)
        }
        return ids
      }),
    )
    const [first] = handles as [DatabaseHandle]
    const rows = await rowsOf(first)
    const all = stored.flat()
    expect(new Set(all).size).toBe(all.length)
    expect(rows).toHaveLength(all.length)
    for (const [index, ids] of stored.entries()) {
      expect(rows.filter(({ user_id }) => user_id === `user${index}`).map(({ event_id }) => event_id)).toEqual(ids)
    }
    const report = await activityCore(first, clock).verify()
    expect(report).toMatchObject({ findings: [], entries: all.length })
    expect(report.days.length).toBeGreaterThan(1)
  })
})
