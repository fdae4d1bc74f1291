/** The activity log over REST: who may record what, and who may see it. */

import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { expect, onTestFinished, test } from 'vitest'
import { ActivityIntake, ActivityQueries, ActivitySeal } from '../../../cloud/activity/activity.ts'
import type { Api } from '../../../cloud/api/api.ts'
import { activityRoutes } from '../../../cloud/api/routes/activities.ts'
import type { Bus, BusRecord } from '../../../cloud/bus/bus.ts'
import { USER_ACTIVITY_LOGS } from '../../../cloud/bus/catalogue.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { LOCAL_AUTHENTICATION } from '../../../cloud/identity/identity.ts'
import { systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { activityCore, activityKeys, OLD_KEY, someActivity, TYPES } from '../../support/activity-log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { FIXED_CALLERS } from '../../support/fixed-callers.ts'
import { type AnyJson, getJson, sendJson } from '../../support/json-request.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { KeptActivities } from '../../support/recorded.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const SETTINGS = { batchMax: 5, ownPerMinute: 20, metadataBytesMax: 1_024, futureToleranceMs: 60_000 }
const keys = activityKeys(OLD_KEY)

interface Options {
  /** Instead of the bus of the API. */
  readonly publish?: Bus['publish']
  readonly nobodyLogsIn?: boolean
  readonly clock?: ConstructorParameters<typeof ActivityIntake>[0]['clock']
}

async function start({ publish, nobodyLogsIn = false, clock = systemClock }: Options = {}) {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const common = { clock: systemClock, random: systemRandom, log: silentLogger }
  const database = openDatabase({ url, ...common })
  onTestFinished(() => database.stop())
  await database.start()
  const published: BusRecord[] = []
  const asked: unknown[] = []
  const activities = new KeptActivities()
  const intake = new ActivityIntake({
    ...common,
    bus: {
      publish: async (topic, records, options) => {
        asked.push({ topic, options })
        published.push(...records)
        await publish?.(topic, records, options)
      },
    },
    types: () => TYPES,
    settings: SETTINGS,
    clock,
  })
  const queries = new ActivityQueries({ database, seal: new ActivitySeal(keys, systemRandom), log: silentLogger })
  const routes = activityRoutes({ queries, intake, types: () => TYPES })
  const core = await startApiCore(
    {
      routes,
      activities,
      authentication: nobodyLogsIn ? LOCAL_AUTHENTICATION : FIXED_CALLERS,
      ...(nobodyLogsIn ? { insecure: true } : {}),
    },
    url,
  )
  const base = `${core.url}/api/v1`
  const as = (who: string | null): Record<string, string> => (who === null ? {} : { authorization: `Bearer ${who}` })
  return {
    ...{ core, database, intake, published, asked, recorded: activities.entries, base, as },
    values: () => published.map(({ value }) => JSON.parse(String(value))),
    post: (who: string | null, body: unknown, headers = {}) =>
      sendJson(`${base}/activities`, 'POST', body, { ...as(who), ...headers }),
    get: async (who: string, path: string) => {
      const answer = await getJson(`${base}/${path}`, as(who))
      requireDeclared(core.api, path, answer.status, answer.body)
      return answer
    },
  }
}

function requireDeclared({ routes }: Api, path: string, status: number, body: AnyJson): void {
  const [bare = ''] = `/api/v1/${path}`.split('?')
  const route = routes.find((each) => new RegExp(`^${each.path.replaceAll(/:[A-Za-z]+/g, '[^/]+')}$`).test(bare))
  const schema = route?.responses[status]?.schema
  if (schema !== undefined) expect([...Value.Errors(schema, body)].map(({ path: at }) => at)).toEqual([])
}

test('a user records what it did itself: where from is filled in, and the rest as the contract has it', async () => {
  const { post, published, values, asked, recorded } = await start()
  const answer = await post(
    'viewer.1',
    { activityType: 'page_view', metadata: { page: '/x' }, siteId: 1 },
    { 'user-agent': 'ua/1', 'x-request-id': 'req-1' },
  )
  expect(answer).toMatchObject({ status: 202, body: { eventIds: [expect.stringMatching(/^evt_[0-9a-f]{24}$/)] } })
  expect(values()).toEqual([
    {
      userId: 'viewer.1',
      activityType: 'page_view',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      metadata: { ipAddress: '127.0.0.1', userAgent: 'ua/1', sessionId: 'viewer.1', page: '/x' },
      eventId: answer.body.eventIds[0],
      version: '1.0',
      siteId: 1,
      correlationId: 'req-1',
      recordedBy: 'viewer.1',
    },
  ])
  expect(Object.keys(values()[0]).slice(0, 6)).toEqual([
    'userId',
    'activityType',
    'timestamp',
    'metadata',
    'eventId',
    'version',
  ])
  expect(published[0]).toMatchObject({
    key: 'viewer.1',
    headers: { source: 'activity-api', timestamp: values()[0].timestamp },
  })
  expect(asked).toEqual([{ topic: USER_ACTIVITY_LOGS, options: { atomic: true } }])
  const own = { activityType: 'page_view', userId: 'viewer.1', metadata: { ipAddress: 'mine' } }
  await post('viewer.1', own)
  expect(values()[1].metadata.ipAddress).toBe('mine')
  // What is recorded is not recorded once more.
  expect(recorded).toEqual([])
})

test('a program records what anybody did, and says so; nothing of where it is is filled in', async () => {
  const { post, values } = await start()
  const whole = {
    userId: 'user123',
    activityType: 'login',
    timestamp: '2024-01-12T11:30:00.000+01:00',
    metadata: { ipAddress: '192.168.1.1', userAgent: 'Mozilla/5.0...', sessionId: 'sess_abc123' },
    eventId: 'evt_1234567890',
    version: '1.0',
  }
  const answer = await post('key+engineer.1', { activities: [whole, { activityType: 'switching_order_signed' }] })
  expect(answer.body.eventIds).toEqual(['evt_1234567890', expect.stringMatching(/^evt_/)])
  expect(values()).toMatchObject([
    { ...whole, timestamp: '2024-01-12T10:30:00.000Z', recordedBy: 'api-key:key-engineer.1' },
    { userId: 'api-key:key-engineer.1', metadata: {}, recordedBy: 'api-key:key-engineer.1' },
  ])
  expect(await post('poorkey+admin.all', whole)).toMatchObject({ status: 403, body: { code: 'SCOPE_MISSING' } })
  expect(await post(null, whole)).toMatchObject({ status: 401 })
})

test('where nobody logs in the request says who it was', async () => {
  const { post, values } = await start({ nobodyLogsIn: true })
  const answer = await post(null, { activityType: 'page_view' })
  expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer: '/userId' }] } })
  expect((await post(null, { activityType: 'page_view', userId: 'userB' })).status).toBe(202)
  expect(values()).toMatchObject([{ userId: 'userB', recordedBy: 'local', metadata: {} }])
})

test('one that is wrong refuses all, and the answer names everything that is wrong', async () => {
  const { post, published, intake } = await start()
  const ok = { activityType: 'page_view' }
  const wrong = async (body: unknown): Promise<string[]> => {
    const answer = await post('viewer.1', body)
    expect(answer, JSON.stringify(body)).toMatchObject({ status: 422, body: { code: 'INVALID_INPUT' } })
    return answer.body.errors.map(({ pointer }: { pointer: string }) => pointer).toSorted()
  }
  expect(await wrong({ activities: [ok, ok, ok, { activityType: 'flying' }] })).toEqual(['/activities/3/activityType'])
  expect(
    await wrong({
      activities: [
        { ...ok, userId: 'bob' },
        { ...ok, siteId: 2 },
        { ...ok, timestamp: '2999-01-01T00:00:00Z', eventId: 'e' },
        { ...ok, eventId: 'e', metadata: { long: 'x'.repeat(2_000) } },
      ],
    }),
  ).toEqual([
    '/activities/0/userId',
    '/activities/1/siteId',
    '/activities/2/timestamp',
    '/activities/3/eventId',
    '/activities/3/metadata',
  ])
  // What the schema refuses, and what it does not know, in one answer.
  expect(
    await wrong({ activities: [{ ...ok, recordedBy: 'me' }, { activityType: 'flying' }, { metadata: 'x' }, 5] }),
  ).toEqual([
    '/activities/0/recordedBy',
    '/activities/1/activityType',
    '/activities/2/activityType',
    '/activities/2/metadata',
    '/activities/3',
  ])
  expect(await wrong({ activities: Array.from({ length: 6 }, () => ok) })).toEqual(['/activities'])
  expect(await wrong({ activities: [] })).toEqual(['/activities'])
  expect(await wrong({ activities: [ok], userId: 'viewer.1' })).toEqual(['/userId'])
  expect(await wrong({})).toEqual(['/activityType'])
  expect(await wrong({ activityType: 'flying' })).toEqual(['/activityType'])
  expect(published).toEqual([])
  expect(intake.stats()).toMatchObject({ refused: 8, taken: 0 })
})

test('a person records so many in a minute, a program as many as it likes', async () => {
  const { post, published } = await start()
  const activities = Array.from({ length: 5 }, () => ({ activityType: 'page_view', userId: 'viewer.1' }))
  for (let i = 0; i < 4; i++) expect((await post('viewer.1', { activities })).status).toBe(202)
  const answer = await post('viewer.1', { activities: activities.slice(0, 2) })
  expect(answer).toMatchObject({ status: 429, body: { code: 'RATE_LIMITED' } })
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await post('viewer.2', { activityType: 'page_view' })).status).toBe(202)
  for (let i = 0; i < 5; i++) expect((await post('key+engineer.1', { activities })).status).toBe(202)
  expect(published).toHaveLength(5 * 9 + 1)
})

test('a request that is sent again has the ids that it had, also when nobody knows what became of it', async () => {
  let away = true
  const publish = (): Promise<void> => {
    const error = new BusbarError('the bus is away', { code: 'BUS_UNAVAILABLE', retryable: true })
    return away ? Promise.reject(error) : Promise.resolve()
  }
  const { post, values, intake } = await start({ publish })
  const body = { activities: [{ activityType: 'page_view' }, { activityType: 'export' }] }
  const again = { 'idempotency-key': 'k1' }
  expect(await post('viewer.1', body, again)).toMatchObject({ status: 503, body: { code: 'BUS_UNAVAILABLE' } })
  away = false
  const first = await post('viewer.1', body, again)
  const second = await post('viewer.1', body, again)
  const other = await post('viewer.2', body, again)
  const fresh = await post('viewer.1', body)
  expect(second).toMatchObject({ status: 202, body: first.body })
  const ids = values().map(({ eventId }) => eventId)
  expect(ids).toHaveLength(8)
  expect(ids.slice(2, 4)).toEqual(ids.slice(0, 2))
  expect(new Set([first, other, fresh].flatMap(({ body: { eventIds } }) => eventIds)).size).toBe(6)
  expect(intake.stats()).toEqual({ batches: 3, taken: 6, refused: 0, failed: 1, waiting: 0 })
})

test('a bus that does not answer is told of as away, and what is too large for it as too large', async () => {
  const clock = new ManualClock()
  const never = Promise.withResolvers<void>()
  const { post, intake } = await start({ clock, publish: () => never.promise })
  const answer = post('viewer.1', { activityType: 'page_view' })
  await until(() => intake.stats().waiting === 1, { what: 'the request waits for the bus' })
  clock.advance(10_000)
  expect(await answer).toMatchObject({ status: 503, body: { code: 'BUS_UNAVAILABLE' } })
  const tooLarge = new BusbarError('too large', { code: 'BATCH_TOO_LARGE', hint: 'Send fewer.' })
  const other = await start({ publish: () => Promise.reject(tooLarge) })
  expect(await other.post('viewer.1', { activityType: 'page_view' })).toMatchObject({
    status: 413,
    body: { code: 'BATCH_TOO_LARGE', hint: 'Send fewer.' },
  })
})

test('the answer comes when the bus has them, in order for each user', async () => {
  const bus: { publish?: Bus['publish'] } = {}
  const { core, post } = await start({ publish: async (...args) => await bus.publish?.(...args) })
  bus.publish = (...args) => core.bus.publish(...args)
  const names = ['a', 'b', 'a', 'b']
  const { body } = await post('key+engineer.1', {
    activities: names.map((userId, n) => ({ userId, activityType: 'page_view', metadata: { n } })),
  })
  const reader = await readTopics(core.bus, [USER_ACTIVITY_LOGS])
  await until(() => reader.records.length === 4, { what: 'they are on the topic' })
  const of = (userId: string) => reader.values(USER_ACTIVITY_LOGS).filter((value) => value.userId === userId)
  expect(of('a')).toMatchObject([{ eventId: body.eventIds[0] }, { eventId: body.eventIds[2] }])
  expect(of('b')).toMatchObject([{ eventId: body.eventIds[1] }, { eventId: body.eventIds[3] }])
})

test('auditors see every entry whole; everybody else sees their own without what is sealed', async () => {
  const { database, get } = await start()
  await activityCore(database, systemClock, keys).append([
    someActivity({ eventId: 'e1', userId: 'viewer.1', objectId: '7', objectType: 'device' }),
    someActivity({ eventId: 'e2', activityType: 'login', outcome: 'REFUSED', metadata: { ipAddress: '::1' } }),
  ])
  for (const who of ['auditor.all', 'admin.all']) {
    const { body } = await get(who, 'activities')
    expect(body).toMatchObject({
      items: [{ eventId: 'e2' }, { eventId: 'e1', metadata: { ipAddress: '10.0.0.7' }, sealed: false, place: 1 }],
      nextCursor: null,
    })
  }
  const ids = async (query: string) =>
    (await get('auditor.all', `activities?${query}`)).body.items.map(({ eventId }: AnyJson) => eventId)
  expect(await ids('activityType=login,logout')).toEqual(['e2'])
  expect(await ids('outcome=REFUSED&from=2026-01-01T00:00:00Z')).toEqual(['e2'])
  expect(await ids('to=2026-01-01T00:00:00Z')).toEqual([])
  expect(await ids('objectId=7&objectType=device&userId=viewer.1')).toEqual(['e1'])
  expect(await ids('text=SITES')).toEqual(['e1'])
  const first = (await get('auditor.all', 'activities?limit=1')).body
  expect(await ids(`limit=1&cursor=${first.nextCursor}`)).toEqual(['e1'])
  for (const query of [
    'activityType=Log%20in',
    'outcome=MAYBE',
    'from=yesterday',
    'text=',
    'cursor=e30',
    'nothing=1',
  ]) {
    expect((await get('auditor.all', `activities?${query}`)).status, query).toBe(422)
  }

  expect((await get('auditor.all', 'activities/e2')).body).toMatchObject({
    eventId: 'e2',
    metadata: { ipAddress: '::1' },
  })
  expect(await get('auditor.all', 'activities/e3')).toMatchObject({ status: 404 })
  for (const path of [
    'activities',
    'activities/e1',
    'activities/export',
    'activity-days',
    'users/auditor.1/activities',
  ]) {
    expect((await get(path.startsWith('users') ? 'admin.all' : 'admin.1', path)).status, path).toBe(403)
  }
  const own = (await get('viewer.1', 'users/viewer.1/activities')).body
  expect(own.items).toMatchObject([{ eventId: 'e1', metadata: { page: '/sites' }, sealed: true }])
  expect((await get('viewer.1', 'users/viewer.1/activities?text=10.0.0.7')).body.items).toEqual([])
  expect((await get('viewer.1', 'activity-types')).body.items).toContainEqual({
    type: 'switching_order_signed',
    description: 'Named in activity.types',
    origin: 'config',
  })
  const { body: days } = await get('auditor.all', 'activity-days')
  expect(days.items).toMatchObject([{ entries: 2, purgedAt: null, keyId: expect.any(String) }])
})

test('an export is every entry that matches, the newest first, as NDJSON or as CSV that no spreadsheet runs', async () => {
  const { database, base, as, recorded } = await start()
  const activities = Array.from({ length: 1_100 }, (_, i) => {
    return someActivity({ eventId: `e${i}`, userId: i === 3 ? '=cmd()' : 'ann', metadata: { ipAddress: '::1', n: i } })
  })
  await activityCore(database, systemClock, keys).append(activities)
  const text = async (query: string) =>
    await (await fetch(`${base}/activities/export?${query}`, { headers: as('auditor.all') })).text()
  const lines = (await text('')).trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line).eventId)).toEqual(activities.map(({ eventId }) => eventId).toReversed())
  expect(lines[0]).toBe(JSON.stringify((await getJson(`${base}/activities/e1099`, as('auditor.all'))).body))
  const [head = '', row = '', ...none] = (await text('format=csv&userId=%3Dcmd()')).split('\r\n')
  expect(none).toEqual([''])
  expect(head).toBe(
    'timestamp,eventId,userId,activityType,outcome,objectType,objectId,siteId,correlationId,recordedBy,source,version,' +
      'storedAt,day,place,hash,sealed,metadata',
  )
  expect(row).toContain(`,e3,'=cmd(),page_view,SUCCESS,,,,,,test,1.0,`)
  expect(row).toContain(`,false,"{""n"":3,""ipAddress"":""::1""}"`)
  expect(await text('format=csv&userId=nobody')).toBe(`${head}\r\n`)
  expect(await text('userId=nobody')).toBe('')
  expect(recorded).toHaveLength(4)
  expect(recorded[1]).toMatchObject({
    userId: 'auditor.all',
    activityType: 'export',
    objectType: 'activity-log',
    metadata: { format: 'csv', operation: 'exportActivities' },
  })
})
