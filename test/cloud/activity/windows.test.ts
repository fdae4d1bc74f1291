import { expect, it } from 'vitest'
import { clockAt, processorOver } from '../../support/activity-processor.ts'
import { activityValue } from '../../support/activity-values.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { until } from '../../support/until.ts'

const NOON = Date.UTC(2026, 0, 31, 12)
const never = new AbortController().signal
const iso = (ms: number) => new Date(ms).toISOString()
const value = (userId: string, n: number, atMs: number, changes: object = {}) => {
  return { ...activityValue(userId, n, { timestamp: iso(atMs) }), ...changes }
}

await describeOnEveryDatabase('windows of activities', (databases) => {
  async function start(nowMs: number) {
    const database = await databases.open()
    const at = { ms: nowMs }
    const core = await processorOver(database, clockAt(at), { windowMs: 10_000 })
    /** Published since the last look, in two of its rounds at least. */
    const published = async () => {
      const { windows, takeOutbox } = core
      // What was counted a moment ago is not published yet.
      at.ms += 1_000
      await windows.start()
      const due = database.kysely.selectFrom('activity_windows').select('user_id').where('published_at_ms', 'is', null)
      await until(async () => (await due.where('settled_at_ms', '<=', at.ms - 1_000).execute()).length === 0)
      return (await takeOutbox()).map(({ windowStart, ...window }) => {
        expect(window).toMatchObject({ topic: 'user-activity-analytics', kind: 'WINDOW', timestamp: window.windowEnd })
        const { userId = '*', activityType = '*', count, succeeded, failed, refused } = window
        const from = (Date.parse(String(windowStart)) - NOON) / 1000
        return `${from} ${userId} ${activityType} ${count}=${succeeded}+${failed}+${refused}`
      })
    }
    return { ...core, database, at, published }
  }

  it('count each event once, and are published when they are over', async () => {
    const { deliver, published, at, windows } = await start(NOON + 12_000)
    const batch = [
      value('ann', 1, NOON),
      value('ann', 2, NOON + 9_999, { outcome: 'SUCCESS' }),
      value('ann', 3, NOON + 5_000, { outcome: 'FAILURE' }),
      value('bob', 1, NOON + 5_000, { outcome: 'REFUSED' }),
      value('bob', 2, NOON + 5_000, { activityType: 'export' }),
      value('ann', 4, NOON + 10_000),
    ]
    await deliver(...batch)
    await deliver(...batch)
    const own = ['0 ann page_view 3=2+1+0', '0 bob export 1=1+0+0', '0 bob page_view 1=0+0+1']
    const ofUsers = ['0 ann * 3=2+1+0', '0 bob * 2=1+0+1']
    const ofTypes = ['0 * export 1=1+0+0', '0 * page_view 4=2+1+1']
    expect((await published()).sort()).toEqual([...own, ...ofUsers, ...ofTypes].sort())
    at.ms += 9_500
    const next = ['10 * page_view 1=1+0+0', '10 ann * 1=1+0+0', '10 ann page_view 1=1+0+0']
    expect((await published()).sort()).toEqual(next)
    expect(windows.stats()).toEqual({ published: 4 })
    await windows.stop(never)
  })

  it('are published again when something comes late, with totals that have all', async () => {
    const { deliver, published, windows } = await start(NOON + 60_000)
    await deliver(value('ann', 1, NOON), value('bob', 1, NOON))
    await published()
    await deliver(value('ann', 2, NOON + 1))
    const again = ['0 * page_view 3=3+0+0', '0 ann * 2=2+0+0', '0 ann page_view 2=2+0+0']
    expect((await published()).sort()).toEqual(again)
    await windows.stop(never)
  })

  it('are published however many users there are in one', { timeout: 5_000 }, async () => {
    const { database, published, windows } = await start(NOON + 60_000)
    const users = Array.from({ length: 6_000 }, (_, i) => `user-${i}`)
    const times = { window_start_ms: NOON, window_end_ms: NOON + 10_000, settled_at_ms: NOON + 10_000 }
    const counts = { activity_type: 'login', succeeded: 1, failed: 0, refused: 0 }
    while (users.length > 0) {
      const rows = users.splice(-500).map((user_id) => ({ user_id, ...times, ...counts }))
      await database.kysely.insertInto('activity_windows').values(rows).execute()
    }
    expect(await published()).toContain('0 * login 6000=6000+0+0')
    await windows.stop(never)
  })

  it('go when they are old and published', async () => {
    const { deliver, database, at, windows, published } = await start(NOON)
    await deliver(value('ann', 1, NOON - 60_000), value('ann', 2, NOON - 4 * 86_400_000))
    await published()
    await windows.stop(never)
    const { windows: later } = await processorOver(database, clockAt(at))
    await later.start()
    const left = database.kysely.selectFrom('activity_windows').select('window_start_ms')
    await until(async () => (await left.execute()).length === 1)
    expect(await left.execute()).toEqual([{ window_start_ms: NOON - 60_000 }])
    await later.stop(never)
  })
})
