import { expect, it } from 'vitest'
import { deadLetterRoutes } from '../../../cloud/api/routes/dead-letters.ts'
import type { DeadLetters } from '../../../cloud/dead-letters/dead-letters.ts'
import type { ApiCore } from '../../support/api-core.ts'
import { startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { deadLetterCore } from '../../support/dead-letter-core.ts'
import { type AnyJson, getJson, sendJson } from '../../support/json-request.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const VALUE = '{"content":"é","n":12345678901234567890}'
const DIED_AT = '2026-01-02T03:04:05.000Z'

/** As a consumer gave it up. */
const letter = (key: string, code: string, value = VALUE, headers: Record<string, string> = {}) => ({
  key,
  value: `${value.slice(0, -1)},"error":{"code":"${code}","message":"why","timestamp":"${DIED_AT}","retryCount":3}}`,
  headers: { own: '1', source: 'communication-service-group', originalTopic: 'chat-messages', ...headers },
})

await describeOnEveryDatabase('dead letters over REST', (databases) => {
  async function start() {
    const database = await databases.open()
    const core = await deadLetterCore(database)
    const api: ApiCore = await startApiCore({ database, routes: deadLetterRoutes({ deadLetters: core.deadLetters }) })
    const path = `${api.url}/api/v1/dead-letters`
    const replay = (body: unknown, headers?: Record<string, string>) =>
      sendJson(`${path}/replay`, 'POST', body, headers)
    return { ...core, database, path, replay }
  }

  it('lists, counts and shows them', async () => {
    const { add, path } = await start()
    await add('chat-messages-dlt', [letter('a', 'X', VALUE, { replayOf: 'chat-messages-dlt.0.9' })])
    await add('chat-messages-dlt', [letter('b', 'Y'), letter('b', 'Y')])
    await add('user-activity-logs-dlq', [{ key: null, value: Buffer.from([0xff, 0x41]) }])
    const all = await getJson(path)
    expect(all.status).toBe(200)
    expect(all.body.items.map((each: AnyJson) => [each.key, each.code])).toEqual([
      [null, 'UNREADABLE'],
      ['b', 'Y'],
      ['b', 'Y'],
      ['a', 'X'],
    ])
    expect(all.body.nextCursor).toBeNull()
    const a = all.body.items[3]
    expect(a).toEqual({
      id: expect.stringMatching(/^chat-messages-dlt\.\d\.\d+$/),
      topic: 'chat-messages-dlt',
      partition: expect.any(Number),
      offset: 0,
      originalTopic: 'chat-messages',
      key: 'a',
      source: 'communication-service-group',
      code: 'X',
      message: 'why',
      retryCount: 3,
      failedAt: DIED_AT,
      createdAt: expect.any(String),
      parts: 1,
      valueBytes: Buffer.byteLength(letter('a', 'X').value),
      kept: true,
      replayedAt: null,
      replays: 0,
      replayOf: 'chat-messages-dlt.0.9',
    })
    const page = await getJson(
      `${path}?limit=1&topic=chat-messages&code=Y&source=communication-service-group&replayed=false`,
    )
    expect(page.body.items).toHaveLength(1)
    const next = await getJson(`${path}?limit=1&code=Y&cursor=${page.body.nextCursor}`)
    expect(next.body).toMatchObject({ items: [{ key: 'b' }], nextCursor: null })
    expect(next.body.items[0].id).not.toBe(page.body.items[0].id)
    expect((await getJson(`${path}?until=${DIED_AT}`)).body.items).toEqual([])
    expect((await getJson(`${path}?since=${DIED_AT}&key=a`)).body.items).toHaveLength(1)

    expect((await getJson(`${path}/summary`)).body).toMatchObject({
      total: 4,
      items: [
        { originalTopic: 'chat-messages', code: 'Y', count: 2, replayed: 0, oldest: expect.any(String) },
        { originalTopic: 'chat-messages', code: 'X', count: 1 },
        { originalTopic: 'user-activity-logs', code: 'UNREADABLE', count: 1 },
      ],
    })

    const shown = (await getJson(`${path}/${a.id}`)).body
    expect(shown).toMatchObject({ ...a, error: { code: 'X', message: 'why', retryCount: 3 }, headers: { own: '1' } })
    expect(shown.value).toEqual({
      restored: true,
      problem: null,
      bytes: Buffer.byteLength(VALUE),
      json: JSON.parse(VALUE),
      text: VALUE,
    })
    const torn = (await getJson(`${path}/${all.body.items[0].id}`)).body
    expect(torn.value).toEqual({
      restored: false,
      problem: expect.stringContaining('no JSON object'),
      bytes: 2,
      text: '\ufffdA',
      base64: '/0E=',
    })
    expect(await getJson(`${path}/chat-messages-dlt.0.77`)).toMatchObject({ status: 404 })
  })

  it('shows what was on its way to the activity log to auditors over every site alone', async () => {
    const database = await databases.open()
    const { add, deadLetters } = await deadLetterCore(database)
    const logins = new TestLogins()
    const routes = deadLetterRoutes({ deadLetters })
    const { url } = await startApiCore({ database, routes, authentication: logins })
    const entry = letter('ann', 'VALIDATION_ERROR', '{"metadata":{"ipAddress":"192.0.2.7"}}')
    const headers = { ...entry.headers, originalTopic: 'user-activity-logs' }
    await add('user-activity-logs-dlq', [
      { ...entry, headers },
      { key: null, value: Buffer.from('192.0.2.7') },
    ])
    const everywhere = (role: 'engineer' | 'auditor') => ({ role, siteId: 'all' as const })
    const shown = async (name: string, ...roles: ('engineer' | 'auditor')[]) => {
      const authorization = `Bearer ${logins.add(name, roles.map(everywhere))}`
      const { items } = (await getJson(`${url}/api/v1/dead-letters`, { authorization })).body
      const bodies = items.map((each: AnyJson) => getJson(`${url}/api/v1/dead-letters/${each.id}`, { authorization }))
      return JSON.stringify(await Promise.all(bodies)).split('192.0.2.7').length - 1
    }
    expect(await shown('ed', 'engineer')).toBe(0)
    expect(await shown('audra', 'engineer', 'auditor')).toBeGreaterThan(1)
  })

  it('replays them once for one idempotency key, and says what became of each', async () => {
    const { add, path, replay, bus } = await start()
    await add('chat-messages-dlt', [letter('a', 'X'), letter('a', 'X'), letter('a', 'X')])
    const ids: string[] = (await getJson(path)).body.items.map((each: AnyJson) => each.id)
    const reader = await readTopics(bus, ['chat-messages'])
    const dry = await replay({ ids, dryRun: true })
    expect(dry.body).toMatchObject({ dryRun: true, left: 0, nextCursor: null })
    expect(dry.body.results.map((each: AnyJson) => [each.id, each.outcome])).toEqual(
      ids.map((id) => [id, 'WOULD_REPLAY']),
    )

    const key = { 'idempotency-key': 'tuesday' }
    const first = await replay({ filter: { topic: 'chat-messages' }, limit: 2 }, key)
    expect(first).toMatchObject({ status: 200, body: { dryRun: false, left: 1, nextCursor: expect.any(String) } })
    expect(first.body.results).toMatchObject([
      { id: ids[2], outcome: 'REPLAYED', topic: 'chat-messages', key: 'a', bytes: Buffer.byteLength(VALUE) },
      { id: ids[1], outcome: 'REPLAYED' },
    ])
    expect((await replay({ filter: { topic: 'chat-messages' }, limit: 2 }, key)).body).toEqual(first.body)
    expect(await replay({ filter: {} }, key)).toMatchObject({ status: 422 })
    const { nextCursor: cursor } = first.body
    const second = await replay({ filter: { topic: 'chat-messages' }, limit: 2, cursor })
    expect(second.body).toMatchObject({ results: [{ id: ids[0] }], left: 0, nextCursor: null })
    await until(() => reader.records.length === 3)
    expect(reader.records.map(({ value }) => value.toString())).toEqual([VALUE, VALUE, VALUE])
    expect((await replay({ ids })).body.results.map((each: AnyJson) => each.code)).toEqual(
      ids.map(() => 'REPLAYED_BEFORE'),
    )
    expect((await getJson(`${path}?replayed=true`)).body.items).toHaveLength(3)
  })

  it('says what is wrong with a request', async () => {
    const { path, replay } = await start()
    const pointersOf = async (body: unknown) => {
      const { status, body: problem } = await replay(body)
      return [status, problem.errors?.map((each: AnyJson) => `${each.in} ${each.pointer}`)]
    }
    expect(await pointersOf({})).toEqual([422, ['body ']])
    expect(await pointersOf({ ids: ['a.0.0'], filter: {} })).toEqual([422, ['body ']])
    expect(await pointersOf({ ids: [] })).toEqual([422, ['body /ids']])
    expect(await pointersOf({ ids: ['nonsense'] })).toEqual([422, ['body /ids/0']])
    expect(await pointersOf({ ids: ['a.0.0'], limit: 1 })).toEqual([422, ['body /limit']])
    expect(await pointersOf({ filter: { code: 'a\0' } })).toEqual([422, ['body /filter/code']])
    expect(await pointersOf({ filter: {}, cursor: 'eA' })).toEqual([422, ['body /cursor']])
    expect(await pointersOf({ filter: {}, limit: 501 })).toEqual([422, ['body /limit']])
    expect(await getJson(`${path}/nonsense`)).toMatchObject({ status: 422 })
    expect(await getJson(`${path}?cursor=eA`)).toMatchObject({ status: 422 })
    expect(await getJson(`${path}?since=yesterday`)).toMatchObject({ status: 422 })
  })
})

it('asks for an engineer of every site', () => {
  const routes = deadLetterRoutes({ deadLetters: {} as DeadLetters })
  expect(routes.map(({ permission }) => permission)).toEqual(routes.map(() => ({ role: 'engineer', scope: 'global' })))
})
