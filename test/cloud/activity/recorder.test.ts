import { Value } from '@sinclair/typebox/value'
import { expect, onTestFinished, test } from 'vitest'
import {
  activityRecord,
  eventOf,
  type NewActivity,
  newEventId,
  soundActivity,
  UserActivitySchema,
} from '../../../cloud/activity/activity.ts'
import { Outbox } from '../../../cloud/bus/outbox.ts'
import { systemClock } from '../../../shared/clock.ts'
import { systemRandom } from '../../../shared/random.ts'
import { awayDatabase } from '../../support/away-database.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { outboxActivities, recorderOver } from '../../support/recorded.ts'
import { until } from '../../support/until.ts'

const activity = (objectId: number | string, more: Partial<NewActivity> = {}): NewActivity => {
  const common = { userId: 'ann', activityType: 'change_site', outcome: 'SUCCESS', objectId: String(objectId) } as const
  return { ...common, metadata: { sessionId: 's1' }, ...more }
}
const ids = (events: readonly { readonly objectId?: string }[]) => events.map(({ objectId }) => objectId)
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i)

test('the record is the contract’s: its members in order, keyed by the user, with the headers source and timestamp', () => {
  const eventId = newEventId(systemRandom)
  expect(eventId).toMatch(/^evt_[0-9a-f]{24}$/)
  const given = { userId: 'user123', activityType: 'login', metadata: { sessionId: 's1' }, outcome: 'SUCCESS' } as const
  const event = eventOf(given, { eventId, nowMs: Date.UTC(2024, 0, 12, 10, 30) })
  expect(activityRecord({ outcome: 'SUCCESS', ...event }, 'core')).toEqual({
    topic: 'user-activity-logs',
    key: 'user123',
    value:
      '{"userId":"user123","activityType":"login","timestamp":"2024-01-12T10:30:00.000Z",' +
      `"metadata":{"sessionId":"s1"},"eventId":"${eventId}","version":"1.0","outcome":"SUCCESS"}`,
    headers: { source: 'core', timestamp: '2024-01-12T10:30:00.000Z' },
  })
})

await describeOnEveryDatabase('what is recorded', (databases) => {
  test('is in the outbox once record resolves; what comes together shares a transaction', async () => {
    const database = await databases.open()
    const counted = awayDatabase(database)
    const { recorder, stored } = recorderOver(database, { database: counted.database })
    await recorder.record(activity('first'))
    expect(ids(await stored())).toEqual(['first'])
    await Promise.all(numbers(300).map((i) => recorder.record(activity(i))))
    expect(ids(await stored())).toEqual(['first', ...numbers(300).map(String)])
    expect(counted.transactions).toBe(2)
    expect(recorder.stats()).toEqual({ recorded: 301, pending: 0, lost: 0, suppressed: 0, late: 0 })
  })

  test('within a transaction is there when that is committed, and only then', async () => {
    const database = await databases.open()
    const { recorder, stored } = recorderOver(database)
    const record = (fails: boolean) =>
      database.transaction(async (transaction) => {
        await recorder.recordWithin([activity('task', { eventId: 'evt_of_task' })], transaction)
        if (fails) throw new Error('no room')
      })
    await expect(record(true)).rejects.toThrow('no room')
    expect(await stored()).toEqual([])
    await record(false)
    expect(await stored()).toMatchObject([{ eventId: 'evt_of_task', objectId: 'task' }])
  })

  test('waits in memory while the database is away: answers wait no longer than they may, and failures not at all', async () => {
    const database = await databases.open()
    const away = awayDatabase(database)
    const settings = { recordWaitMs: 30, pendingMax: 4 }
    const { recorder, stored, logged } = recorderOver(database, { database: away.database, settings })
    away.isAway = true
    await Promise.all([recorder.record(activity(0)), recorder.record(activity(1))])
    expect(recorder.stats()).toMatchObject({ pending: 2, late: 2 })
    await recorder.record(activity(2, { outcome: 'FAILURE' }))
    expect(recorder.stats()).toMatchObject({ pending: 3, late: 2 })
    await recorder.record(activity(3))
    // One more than may wait is in the log of the program, without what is sensitive.
    await recorder.record(activity(4, { metadata: { ipAddress: '192.0.2.7', path: '/x' } }))
    expect(logged).toMatchObject([{ activity: { objectId: '4', metadata: { path: '/x' } } }])
    expect(JSON.stringify(logged)).not.toContain('192.0.2.7')
    away.isAway = false
    await until(() => recorder.stats().pending === 0)
    expect(ids(await stored())).toEqual(['0', '1', '2', '3'])
    expect(recorder.stats()).toMatchObject({ recorded: 4, lost: 1 })
  })

  test('is stored without the one that the database never takes', async () => {
    const database = await databases.open()
    const outbox = new Outbox({ database, clock: systemClock })
    const append: Outbox['append'] = async (records, transaction) => {
      await outbox.append(records, transaction)
      if (records.some(({ value }) => value.includes('"3"'))) throw new Error('no')
    }
    const { recorder, stored, logged } = recorderOver(database, { outbox: { append, nudge: () => undefined } })
    await Promise.all(numbers(8).map((i) => recorder.record(activity(i))))
    expect(ids(await stored())).toEqual(['0', '1', '2', '4', '5', '6', '7'])
    expect(logged).toMatchObject([{ activity: { objectId: '3' }, error: 'no' }])
    expect(recorder.stats()).toMatchObject({ recorded: 7, lost: 1, pending: 0 })
  })

  test('killed with -9, what an answer was given for is there, and in order', { timeout: 30_000 }, async () => {
    const url = await databases.freshUrl()
    const answered: string[] = []
    const core = startChild({
      command: [bunPath, new URL('../../support/activity-process.ts', import.meta.url).pathname, url],
      onLine: (line) => void answered.push(line),
    })
    onTestFinished(async () => void (await core.kill('SIGKILL')))
    await until(() => answered.length > 200 || core.exit !== null, { what: 'the core records' })
    await core.kill('SIGKILL')
    expect(answered.length, core.output()).toBeGreaterThan(200)
    const stored = ids(await outboxActivities(await databases.open({ url })))
    expect(stored).toEqual(expect.arrayContaining(answered))
    expect(stored).toEqual(numbers(stored.length).map(String))
  })

  test('is stored, as far as it waits, when the recorder stops; what cannot be is in the log', async () => {
    const database = await databases.open()
    const away = awayDatabase(database)
    const options = { database: away.database, settings: { recordWaitMs: 0 } }
    const first = recorderOver(database, options)
    await first.recorder.record(activity(0))
    await first.recorder.stop(AbortSignal.timeout(5_000))
    expect(ids(await first.stored())).toEqual(['0'])
    away.isAway = true
    const second = recorderOver(database, options)
    await second.recorder.record(activity(1))
    await second.recorder.stop(AbortSignal.timeout(20))
    await second.recorder.record(activity(2))
    expect(ids(second.logged.map((each) => each.activity))).toEqual(['1', '2'])
    expect(second.recorder.stats()).toMatchObject({ lost: 2, pending: 0 })
  })

  test('is bounded where it was refused: the rest is counted into the next entry, strangers apart from users', async () => {
    const clock = new ManualClock()
    const { recorder, stored } = recorderOver(await databases.open(), { clock, settings: { refusalsPerMinute: 2 } })
    const refused = (from: 'stranger' | 'user', more: Partial<NewActivity> = {}) => {
      const metadata = from === 'user' ? { sessionId: 's1' } : {}
      return recorder.record(activity(from, { activityType: 'access_refused', outcome: 'REFUSED', metadata, ...more }))
    }
    for (let i = 0; i < 4; i++) await refused('stranger')
    // Who asks for anything hides no login that failed.
    await refused('stranger', { activityType: 'login', outcome: 'FAILURE' })
    await refused('user')
    // Whoever is logged in may fail, and do, as often as they like.
    for (let i = 0; i < 3; i++) await refused('user', { outcome: 'FAILURE' })
    for (let i = 0; i < 3; i++) await recorder.record(activity('done'))
    expect(recorder.stats()).toMatchObject({ recorded: 10, suppressed: 2 })
    clock.advance(60_000)
    await refused('stranger')
    await refused('stranger')
    const told = (await stored()).flatMap(({ objectId, metadata }) =>
      objectId === 'stranger' ? [metadata.suppressed] : [],
    )
    expect(told).toEqual([undefined, undefined, undefined, 2, undefined])
  })

  test('is bounded for each login and address that is refused, and for strangers also where nothing was refused', async () => {
    const clock = new ManualClock()
    const { recorder, stored } = recorderOver(await databases.open(), { clock, settings: { refusalsPerMinute: 20 } })
    const from = async (source: object, times: number, more: Partial<NewActivity>) => {
      for (let i = 0; i < times; i++) await recorder.record(activity(1, { metadata: { ...source }, ...more }))
    }
    const counted = async () => (await stored()).length
    await from({ sessionId: 's1' }, 9, { outcome: 'REFUSED' })
    await from({ sessionId: 's2' }, 1, { outcome: 'REFUSED' })
    expect(await counted()).toBe(3)
    await from({ ipAddress: '192.0.2.1' }, 9, { userId: 'anonymous', activityType: 'logout' })
    expect(await counted()).toBe(5)
    // Where nobody logs in everybody is known by name alone.
    await from({ ipAddress: '192.0.2.1' }, 9, { userId: 'local' })
    expect(await counted()).toBe(14)
  })
})

test('whatever somebody is called, and however much there is to say, the event is of the form', () => {
  const given = activity('\ud800\n'.repeat(200), {
    userId: 'a\u0000b\u2028'.repeat(100),
    metadata: { path: '/x', note: 'y'.repeat(300), status: 403 },
  })
  const event = eventOf(soundActivity(given, 256), { eventId: 'evt_1', nowMs: 0 })
  expect([...Value.Errors(UserActivitySchema, event)]).toEqual([])
  expect(event.metadata).toEqual({ truncated: true, path: '/x', status: 403 })
  expect(eventOf(soundActivity(activity('', { userId: '' }), 256), { eventId: 'evt_1', nowMs: 0 })).toMatchObject({
    userId: 'anonymous',
  })
})
