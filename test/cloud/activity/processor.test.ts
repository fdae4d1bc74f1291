import { Writable } from 'node:stream'
import pino from 'pino'
import { expect, it } from 'vitest'
import { USER_ACTIVITY_ANALYTICS } from '../../../cloud/bus/catalogue.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { clockAt, type ProcessorOptions, processorOver } from '../../support/activity-processor.ts'
import { activityValue } from '../../support/activity-values.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { until } from '../../support/until.ts'

const NOW = Date.UTC(2026, 0, 31, 12)
const timestamp = new Date(NOW).toISOString()
const value = (userId: string, n: number, changes: object = {}) => ({
  ...activityValue(userId, n, { timestamp, ...changes }),
})

await describeOnEveryDatabase('the processor of activities', (databases) => {
  async function start(options: ProcessorOptions = {}) {
    const database = await databases.open()
    const core = await processorOver(database, clockAt({ ms: NOW }), options)
    const stored = async () => {
      const rows = database.kysely.selectFrom('activity_logs').select('event_id').orderBy('day').orderBy('place')
      return (await rows.execute()).map(({ event_id }) => event_id)
    }
    return { ...core, database, stored }
  }

  it('stores each event once, in order, however often it comes', async () => {
    const { deliver, stored, processor, database } = await start()
    const [first, second, third] = [value('ann', 1), value('bob', 1), value('ann', 2)]
    await deliver(first, second, first)
    await deliver(first, second, third)
    expect(await stored()).toEqual(['evt_ann_1', 'evt_bob_1', 'evt_ann_2'])
    expect(processor.stats()).toMatchObject({ handled: 6, stored: 3, repeated: 3, seconds: { count: 2 } })
    const rows = database.kysely.selectFrom('activity_logs').selectAll().where('event_id', '=', 'evt_ann_2')
    expect(await rows.executeTakeFirst()).toMatchObject({
      ...{ user_id: 'ann', activity_type: 'page_view', at_ms: NOW, version: '1.0', source: 'a-program' },
      metadata: '{"sessionId":"sess_ann","n":2}',
    })
  })

  it('gives up what is no activity, to the letter, and stores the rest', async () => {
    const { deliver, stored, published, processor } = await start()
    const odd = `{ "userId": "ann", "activityType":"walked_the_dog","timestamp":"${timestamp}","metadata":{"n":1.00},"eventId":"evt_9","version":"1.0"}`
    await deliver(value('ann', 1), odd, 'no JSON', { ...value('ann', 2), version: '2.0' }, value('ann', 3))
    expect(await stored()).toEqual(['evt_ann_1', 'evt_ann_3'])
    expect(published.map(({ topic }) => topic)).toEqual(Array(3).fill('user-activity-logs-dlq'))
    const [unknown, noJson] = published
    const remedy = 'a type of the catalogue (busbar-cloud activity types), or one that activity.types names'
    expect(unknown?.value).toBe(
      `${odd.slice(0, -1)},"error":{"code":"VALIDATION_ERROR","message":"/activityType \\"walked_the_dog\\": ${remedy}","timestamp":"${timestamp}","retryCount":0}}`,
    )
    expect(unknown?.headers).toMatchObject({
      source: 'user-activity-processor',
      ...{ originalTopic: 'user-activity-logs', originalPartition: '0', originalOffset: '1' },
    })
    expect(JSON.parse(String(noJson?.value))).toMatchObject({
      raw: Buffer.from('no JSON').toString('base64'),
      error: { code: 'VALIDATION_ERROR', message: 'the value is not JSON' },
    })
    expect(processor.stats().deadLettered).toEqual({ VALIDATION_ERROR: 3 })
  })

  it('gives up an event that nothing stores after all its tries, and what is behind it of its user comes after', async () => {
    const { deliver, stored, published } = await start({
      wrapStore: (store) => ({
        append: async (activities, transaction) => {
          if (activities.some(({ eventId }) => eventId === 'evt_ann_1')) throw new Error('a poison')
          return store.append(activities, transaction)
        },
      }),
    })
    await deliver(value('ann', 1), value('ann', 2), value('bob', 1))
    expect(await stored()).toEqual(['evt_bob_1'])
    await until(async () => (await stored()).length === 2)
    expect(await stored()).toEqual(['evt_bob_1', 'evt_ann_2'])
    const letter = JSON.parse(String(published[0]?.value))
    expect(letter).toMatchObject({ eventId: 'evt_ann_1', error: { code: 'HANDLER_FAILED', retryCount: 5 } })
  })

  it('names the event and its request in the log where it gives one up', async () => {
    const lines: Record<string, unknown>[] = []
    const write = (line: Buffer, _: string, done: () => void) => {
      lines.push(JSON.parse(line.toString()))
      done()
    }
    const { deliver } = await start({ log: pino({ level: 'warn' }, new Writable({ write })) })
    const poison = { ...value('ann', 1), correlationId: 'req_1', metadata: 'hunter2' }
    await deliver(poison, 'no JSON')
    const given = lines.filter(({ msg }) => msg === 'record dead-lettered')
    expect(given).toMatchObject([
      { offset: '0', code: 'VALIDATION_ERROR', eventId: 'evt_ann_1', correlationId: 'req_1' },
      { offset: '1', code: 'VALIDATION_ERROR', message: 'the value is not JSON' },
    ])
    expect(JSON.stringify(lines)).not.toContain('hunter2')
  })

  it('says so when an event is not stored because another one has its id', async () => {
    const lines: Record<string, unknown>[] = []
    const write = (line: Buffer, _: string, done: () => void) => {
      lines.push(JSON.parse(line.toString()))
      done()
    }
    const { deliver, stored } = await start({ log: pino({ level: 'warn' }, new Writable({ write })) })
    const first = value('mallory', 1, { eventId: 'invoice-1' })
    await deliver(first, first)
    await deliver(first, value('ann', 1, { eventId: 'invoice-1' }))
    expect(await stored()).toEqual(['invoice-1'])
    expect(lines).toMatchObject([{ activities: 1, eventIds: ['invoice-1'] }])
  })

  it('tells dashboards of what matters for security, without its metadata', async () => {
    const { deliver, published } = await start()
    const refused = { ...value('ann', 3), outcome: 'REFUSED', objectType: 'site', objectId: '7', siteId: 7 }
    await deliver(value('ann', 1), value('ann', 2, { activityType: 'login' }), { ...refused, correlationId: 'r1' })
    const common = { userId: 'ann', kind: 'ACTIVITY', timestamp }
    expect(published.map((each) => JSON.parse(String(each.value)))).toEqual([
      { ...common, eventId: 'evt_ann_2', activityType: 'login' },
      {
        ...{ ...common, eventId: 'evt_ann_3', activityType: 'page_view', outcome: 'REFUSED' },
        ...{ objectType: 'site', objectId: '7', siteId: 7, correlationId: 'r1' },
      },
    ])
    const headers = { source: 'user-activity-processor', timestamp }
    expect(published[0]).toMatchObject({ topic: USER_ACTIVITY_ANALYTICS, key: 'ann', headers })
  })

  it('has told dashboards before a batch is done, also when it is stored already', async () => {
    let away = true
    const { deliver, stored, published, processor } = await start({
      onPublish: () => {
        if (away) throw new BusbarError('the bus is away', { code: 'BUS_AWAY', retryable: true })
      },
    })
    const login = value('ann', 1, { activityType: 'login' })
    await expect(deliver(login)).rejects.toMatchObject({ code: 'BUS_AWAY' })
    expect(await stored()).toEqual(['evt_ann_1'])
    expect(processor.health()).toMatchObject({ state: 'degraded', detail: expect.stringContaining('the bus is away') })
    away = false
    await deliver(login)
    expect(processor.health()).toEqual({ state: 'up' })
    expect(published.map(({ topic }) => topic)).toEqual([USER_ACTIVITY_ANALYTICS])
    expect(processor.stats()).toMatchObject({ stored: 1, repeated: 1, analytics: 1, deadLettered: {} })
  })

  it('keeps what is stored out of the dead letters when dashboards cannot be told of it', async () => {
    const { deliver, published, processor } = await start({
      onPublish: (topic) => {
        if (topic === USER_ACTIVITY_ANALYTICS) throw new BusbarError('it does not fit', { code: 'RECORD_REFUSED' })
      },
    })
    await deliver(value('ann', 1, { activityType: 'login' }))
    expect(published).toEqual([])
    expect(processor.stats()).toMatchObject({ stored: 1, analyticsRefused: 1, handled: 1 })
  })

  it('stores, counts and tells once what two cores have at once', async () => {
    const url = await databases.freshUrl()
    const suspicion = { commands: 20 }
    const cores = await Promise.all(
      [1, 2].map(async () => processorOver(await databases.open({ url }), clockAt({ ms: NOW }), { suspicion })),
    )
    const batches = [0, 1, 2, 3].map((batch) =>
      Array.from({ length: 20 }, (_, n) => value('ann', batch * 10 + n, { activityType: 'command' })),
    )
    await Promise.all(cores.flatMap(({ deliver }) => batches.map((batch) => deliver(...batch))))
    const { kysely } = await databases.open({ url })
    const places = await kysely.selectFrom('activity_logs').select(['event_id', 'place']).orderBy('place').execute()
    expect(places.map(({ place }) => place)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1))
    const windows = await kysely.selectFrom('activity_windows').selectAll().execute()
    expect(windows).toMatchObject([{ user_id: 'ann', succeeded: 50, failed: 0, refused: 0 }])
    const stats = cores.map(({ processor }) => processor.stats())
    expect(stats.reduce((sum, { suspicions }) => sum + suspicions.COMMAND_BURST, 0)).toBe(1)
    expect(stats.reduce((sum, { stored }) => sum + stored, 0)).toBe(50)
  })
})
