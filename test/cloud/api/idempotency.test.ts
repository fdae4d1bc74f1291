import { expect, test } from 'vitest'
import type { ApiOptions } from '../../../cloud/api/api.ts'
import type { Grant } from '../../../cloud/identity/identity.ts'
import { startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { sendJson } from '../../support/json-request.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { TestLogins } from '../../support/test-logins.ts'

const ENGINEER: Grant[] = [{ role: 'engineer', siteId: 'all' }]

async function post(url: string, body: unknown, key: string) {
  const answer = await sendJson(url, 'POST', body, { 'idempotency-key': key })
  return { status: answer.status, location: answer.headers.get('location'), body: answer.body }
}

await describeOnEveryDatabase('idempotency keys', ({ freshUrl }) => {
  const start = async (overrides: Partial<ApiOptions> = {}) => await startApiCore(overrides, await freshUrl())

  test('the same request gives the first answer again, and has one effect', async () => {
    const { url } = await start()
    const first = await post(`${url}/api/v1/sites`, { id: 1, name: 'North' }, 'k1')
    expect(first.status).toBe(201)
    expect(await post(`${url}/api/v1/sites`, { id: 1, name: 'North' }, 'k1')).toEqual(first)
    expect((await post(`${url}/api/v1/sites`, { id: 1, name: 'North' }, 'k2')).status).toBe(409)
  })

  test('a key serves each route by itself', async () => {
    const { url } = await start()
    expect((await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')).status).toBe(201)
    expect((await post(`${url}/api/v1/gateways`, { id: 'gw-1' }, 'k1')).status).toBe(201)
  })

  test('one key of two callers is two requests', async () => {
    const logins = new TestLogins()
    const [ann, bob] = [logins.add('ann', ENGINEER), logins.add('bob', ENGINEER)]
    const { url, registry } = await start({ authentication: logins })
    const ask = (token: string, id: number) =>
      sendJson(`${url}/api/v1/sites`, 'POST', { id }, { 'idempotency-key': 'k1', authorization: `Bearer ${token}` })
    expect((await ask(ann, 1)).status).toBe(201)
    // Neither the answer of the other one, nor that the key is in use, is told.
    expect((await ask(bob, 2)).status).toBe(201)
    expect((await ask(bob, 2)).status).toBe(201)
    expect((await ask(ann, 2)).status).toBe(422)
    expect((await registry.sites.list()).items).toHaveLength(2)
  })

  test('another body under the same key is refused', async () => {
    const { url } = await start()
    await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')
    const other = await post(`${url}/api/v1/sites`, { id: 2 }, 'k1')
    expect(other).toMatchObject({ status: 422, body: { code: 'IDEMPOTENCY_KEY_REUSED' } })
  })

  test('of requests at the same time one runs; the others get its answer or are told that it is under way', async () => {
    const { url, registry } = await start()
    await post(`${url}/api/v1/sites`, { id: 1 }, 'site')
    const body = { siteId: 1, serialNumber: 'INV-001' }
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(`${url}/api/v1/devices`, body, 'k1')))
    const created = answers.filter(({ status }) => status === 201)
    expect(created.length).toBeGreaterThan(0)
    expect(new Set(created.map((answer) => answer.body.id)).size).toBe(1)
    for (const answer of answers) {
      if (answer.status !== 201) expect(answer).toMatchObject({ status: 409, body: { code: 'IDEMPOTENCY_IN_FLIGHT' } })
    }
    expect((await registry.devices.list()).items).toHaveLength(1)
    expect((await post(`${url}/api/v1/devices`, body, 'k1')).status).toBe(201)
  })

  test('a refusal is not remembered: corrected circumstances let the same request pass', async () => {
    const { url } = await start()
    const body = { siteId: 1, serialNumber: 'INV-001' }
    expect((await post(`${url}/api/v1/devices`, body, 'k1')).status).toBe(422)
    await post(`${url}/api/v1/sites`, { id: 1 }, 'site')
    expect((await post(`${url}/api/v1/devices`, body, 'k1')).status).toBe(201)
  })

  test('a request that died with its core lets go of the key after a while', async () => {
    const clock = new ManualClock(Date.now())
    const { url, database } = await start({ clock, limits: { idempotencyInFlightMaxMs: 60_000 } })
    await database.kysely
      .insertInto('idempotency_keys')
      .values({ key: 'k1', route: 'POST /api/v1/sites local', request_hash: 'x', created_at_ms: clock.wallMs() })
      .execute()
    expect((await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')).status).toBe(422)
    clock.advance(60_001)
    expect((await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')).status).toBe(201)
  })

  test('answers are forgotten after their time', async () => {
    const clock = new ManualClock(Date.now())
    const { url, database } = await start({ clock, limits: { idempotencyKeptMs: 1_000_000 } })
    await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')
    clock.advance(1_000_001)
    expect((await post(`${url}/api/v1/sites`, { id: 1 }, 'k1')).status).toBe(409)
    for (let i = 0; i < 100; i++) await post(`${url}/api/v1/sites`, { id: 100 + i }, `n${i}`)
    const old = database.kysely.selectFrom('idempotency_keys').selectAll().where('key', '=', 'k1')
    expect(await old.execute()).toEqual([])
  })

  test('a key that is none is refused', async () => {
    const { url } = await start()
    for (const key of ['', 'a b', 'x'.repeat(201)]) {
      const answer = await post(`${url}/api/v1/sites`, { id: 1 }, key)
      expect(answer).toMatchObject({ status: 422, body: { errors: [{ in: 'header', pointer: '/Idempotency-Key' }] } })
    }
  })
})
