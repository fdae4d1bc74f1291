/** Questions about the activity log, on every database. */

import { type RawBuilder, sql } from 'kysely'
import { expect, test } from 'vitest'
import {
  type ActivityEntry,
  ActivityQueries,
  type ActivityQueriesOptions,
  ActivitySeal,
  activityView,
  type CheckedActivity,
} from '../../../cloud/activity/activity.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { activityCore, activityKeys, NEW_KEY, OLD_KEY, someActivity } from '../../support/activity-log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const T0 = Date.UTC(2026, 0, 31, 12)
const keys = activityKeys(OLD_KEY)

await describeOnEveryDatabase('questions about the activity log', (databases) => {
  async function start(activities: readonly CheckedActivity[], options: Partial<ActivityQueriesOptions> = {}) {
    const database = await databases.open()
    await activityCore(database, systemClock, keys).append(activities)
    const seal = new ActivitySeal(keys, systemRandom)
    const queries = new ActivityQueries({ database, seal, log: silentLogger, ...options })
    /** Ids of all pages, and how many entries each page had. */
    async function pages(filter: Partial<Parameters<ActivityQueries['list']>[0]>) {
      const ids: string[] = []
      const sizes: number[] = []
      let cursor: string | undefined
      do {
        const page = await queries.list({ opened: true, ...filter, cursor })
        ids.push(...page.items.map(({ eventId }) => eventId))
        sizes.push(page.items.length)
        cursor = page.next ?? undefined
      } while (cursor !== undefined)
      return { ids, sizes }
    }
    return { database, queries, pages }
  }

  test('entries are found by every criterion, the newest first, and by several only what meets all', async () => {
    const of = (eventId: string, at: number, members: Partial<CheckedActivity>) =>
      someActivity({ eventId, atMs: T0 + at, metadata: {}, ...members })
    const { pages } = await start([
      of('e1', 1, { userId: 'bob', activityType: 'login', outcome: 'REFUSED' }),
      of('e3', 3, { objectType: 'device', objectId: '7', siteId: 2, correlationId: 'req_1' }),
      of('e2', 2, { activityType: 'logout', metadata: { note: 'Größe "100%" _x_\\', 'Odd!': { deep: [1, 'Seven'] } } }),
      of('e4', 4, { objectType: 'site', objectId: '7', outcome: 'FAILURE', recordedBy: 'api-key:7' }),
      of('e5', 4, { userId: 'bob', outcome: null }),
    ])
    const found = async (filter: Parameters<typeof pages>[0]) => (await pages(filter)).ids.join(' ')
    expect(await found({})).toBe('e5 e4 e3 e2 e1')
    expect(await found({ userId: 'bob' })).toBe('e5 e1')
    expect(await found({ activityTypes: ['login'] })).toBe('e1')
    expect(await found({ activityTypes: ['login', 'logout', 'nothing'] })).toBe('e2 e1')
    expect(await found({ fromMs: T0 + 2, toMs: T0 + 4 })).toBe('e3 e2')
    expect(await found({ objectId: '7' })).toBe('e4 e3')
    expect(await found({ objectType: 'device', objectId: '7' })).toBe('e3')
    expect(await found({ siteId: 2 })).toBe('e3')
    expect(await found({ outcome: 'FAILURE' })).toBe('e4')
    expect(await found({ recordedBy: 'api-key:7' })).toBe('e4')
    expect(await found({ correlationId: 'req_1' })).toBe('e3')
    expect(await found({ userId: 'bob', outcome: 'REFUSED', activityTypes: ['login'] })).toBe('e1')
    expect(await found({ userId: 'bob', outcome: 'FAILURE' })).toBe('')
    for (const text of ['größe', 'GRößE "100%" _X_\\', '100%', '_x_', 'odd!', 'seven', 'note']) {
      expect(await found({ text }), text).toBe('e2')
    }
    for (const text of ['100_', 'x%', 'GRÖSSE', '\\\\\\']) expect(await found({ text }), text).toBe('')
  })

  test('pages are full where an index knows the way, and none is left out or shown twice', async () => {
    const entries = Array.from({ length: 7 }, (_, i) =>
      someActivity({ eventId: `e${i}`, atMs: T0 + Math.floor(i / 3), userId: i === 6 ? 'bob' : 'ann' }),
    )
    const { pages } = await start(entries)
    expect(await pages({ limit: 3 })).toEqual({ ids: ['e6', 'e5', 'e4', 'e3', 'e2', 'e1', 'e0'], sizes: [3, 3, 1] })
    expect(await pages({ limit: 3, userId: 'ann' })).toEqual({
      ids: ['e5', 'e4', 'e3', 'e2', 'e1', 'e0'],
      sizes: [3, 3],
    })
  })

  test('what is rare is looked for in bounded steps: a page may be empty and go on', async () => {
    const entries = Array.from({ length: 29 }, (_, i) =>
      someActivity({ eventId: `e${i}`, atMs: T0 + i, metadata: i % 13 === 0 ? { word: 'needle' } : {} }),
    )
    const { pages } = await start(entries, { bounds: { passedAtOnce: 3, stepsMax: 2 } })
    const { ids, sizes } = await pages({ text: 'needle', limit: 2 })
    expect(ids).toEqual(['e26', 'e13', 'e0'])
    expect(sizes).toEqual([1, 0, 1, 0, 1])
  })

  test('what is sealed is shown to whoever may see it, and to nobody when its key is not there', async () => {
    const { database, queries } = await start([someActivity({ eventId: 'e1' })])
    const at = { opened: true }
    expect(await queries.get('e1', at)).toMatchObject({
      metadata: { ipAddress: '10.0.0.7', userAgent: 'curl/8', page: '/sites' },
      sealed: false,
      place: 1,
    })
    expect(await queries.get('e1', { opened: false })).toMatchObject({ metadata: { page: '/sites' }, sealed: true })
    expect(await queries.get('e2', at)).toBeNull()
    const found = async (text: string, opened: boolean) => (await queries.list({ text, opened })).items.length
    for (const text of ['10.0.0.7', 'CURL', 'ipADDRESS', '/sites']) expect(await found(text, true), text).toBe(1)
    expect([await found('10.0.0.7', false), await found('/sites', false), await found('10.0.0.8', true)]).toEqual([
      0, 1, 0,
    ])
    const seal = new ActivitySeal(activityKeys(NEW_KEY), systemRandom)
    const without = new ActivityQueries({ database, seal, log: silentLogger })
    expect((await without.list({ text: '10.0.0.7', opened: true })).items).toEqual([])
    expect((await without.list(at)).items).toMatchObject([{ metadata: { page: '/sites' }, sealed: true }])
  })

  test('entries that somebody has changed hide no others', async () => {
    const numbers = [1, 2, 3, 4, 5]
    const { database, queries, pages } = await start(
      numbers.map((i) => someActivity({ eventId: `e${i}`, atMs: T0 + i })),
    )
    const change = (set: RawBuilder<unknown>, eventId: string) =>
      sql`update activity_logs set ${set} where event_id = ${eventId}`.execute(database.kysely)
    await change(sql`metadata = ${'{'}, stored_at_ms = ${Number.MAX_SAFE_INTEGER}`, 'e2')
    await change(sql`at_ms = ${Number.MAX_SAFE_INTEGER}`, 'e3')
    await change(sql`at_ms = ${Number.MIN_SAFE_INTEGER}`, 'e4')
    expect((await pages({ limit: 1 })).ids).toEqual(['e5', 'e2', 'e1'])
    const changed = await queries.get('e2', { opened: true })
    expect(activityView(changed as ActivityEntry)).toMatchObject({
      metadata: { unreadable: '{' },
      storedAt: '9007199254740991',
    })
  })

  test('a forged cursor is refused, and days are listed with the heads of their chains', async () => {
    const { queries } = await start([someActivity(), someActivity()])
    for (const key of ['"1/"', '"x/e1"', '"1/e\\u0000"', '7', '{']) {
      const cursor = Buffer.from(key).toString('base64url')
      await expect(queries.list({ cursor, opened: true }), key).rejects.toThrow('cursor')
      await expect(queries.days({ cursor }), key).rejects.toThrow('cursor')
    }
    const { items, next } = await queries.days({})
    const last = (await queries.list({ opened: true, limit: 1 })).items[0]
    expect(items).toMatchObject([{ day: last?.day, entries: 2, headHash: last?.hash, purgedAtMs: null }])
    expect(next).toBeNull()
  })
})
