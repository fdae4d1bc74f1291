/** Commands that need a second person, over the API and past it: as the core is composed. */

import { expect, onTestFinished, test } from 'vitest'
import { loadCloudConfig } from '../../../cloud/config.ts'
import { createCore } from '../../../cloud/core.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { type AnyJson, getJson, sendJson } from '../../support/json-request.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { until } from '../../support/until.ts'

const TYPE = 'REMOTE_DISCONNECT'

async function startCore() {
  const dir = await tempDir()
  const logins = new TestLogins()
  const config = loadCloudConfig(undefined, {
    BUSBAR_CLOUD_API_PORT: '0',
    BUSBAR_CLOUD_INGEST_PORT: '0',
    BUSBAR_CLOUD_INGEST_INSECURE: 'true',
    BUSBAR_CLOUD_BUS_DIR: `${dir}/bus`,
    BUSBAR_CLOUD_DATABASE_URL: `sqlite:${dir}/busbar.db`,
    BUSBAR_CLOUD_IDENTITY_MASTER_KEY_FILE: `${dir}/master.key`,
    BUSBAR_CLOUD_APPROVALS_COMMAND_TYPES: TYPE,
  })
  const core = createCore(config, { clock: systemClock, random: systemRandom, log: silentLogger }, logins)
  onTestFinished(async () => void (await core.stop()))
  await core.start()
  const tokens = {
    root: logins.add('root', [{ role: 'admin', siteId: 'all' }]),
    ann: logins.add('ann', [{ role: 'operator', siteId: 1 }]),
    ben: logins.add('ben', [{ role: 'operator', siteId: 1 }]),
    cyd: logins.add('cyd', [{ role: 'operator', siteId: 2 }]),
    eve: logins.add('eve', [{ role: 'viewer', siteId: 1 }]),
    key: logins.add('api-key:k1', [{ role: 'admin', siteId: 'all' }], ['*:read', '*:write']),
  }
  const url = `http://127.0.0.1:${core.api.address().port}/api/v1`
  const as = (name: keyof typeof tokens, more: Record<string, string> = {}) => {
    const headers = { authorization: `Bearer ${tokens[name]}` }
    return {
      get: async (path: string): Promise<AnyJson> => (await getJson(url + path, headers)).body,
      post: (path: string, body: unknown = {}) => sendJson(url + path, 'POST', body, { ...headers, ...more }),
    }
  }
  for (const siteId of [1, 2]) {
    expect((await as('root').post('/sites', { id: siteId })).status).toBe(201)
    expect((await as('root').post('/devices', { siteId, serialNumber: `MTR-${siteId}` })).status).toBe(201)
  }
  return { as }
}

test('a dangerous command waits, is seen by who may see its site, and is given by another operator of it', async () => {
  const { as } = await startCore()
  const asked = await as('ann').post('/commands', { device_id: 'MTR-1', name: TYPE.toLowerCase(), payload: { a: 1 } })
  expect(asked).toMatchObject({ status: 202, body: { state: 'PENDING', requested_by: 'ann', site_ids: [1] } })
  expect((await as('root').get('/commands')).items).toEqual([])
  const path = `/approvals/${asked.body.id}`
  expect((await as('eve').get(path)).state).toBe('PENDING')
  expect((await as('cyd').get(path)).status).toBe(404)
  expect((await as('cyd').get('/approvals')).items).toEqual([])
  const refusals = { ann: 409, eve: 403, cyd: 404, key: 403 } as const
  for (const [name, status] of Object.entries(refusals)) {
    expect((await as(name as keyof typeof refusals).post(`${path}/approve`)).status, name).toBe(status)
  }
  expect((await as('ben').post(`${path}/withdraw`)).status).toBe(403)
  const [one, other] = await Promise.all([as('ben').post(`${path}/approve`), as('root').post(`${path}/approve`)])
  expect([one.status, other.status].sort()).toEqual([200, 409])
  const { items } = await as('root').get('/commands')
  expect(items).toMatchObject([{ name: TYPE.toLowerCase(), device_id: 'MTR-1', payload: { a: 1 } }])
  expect((await as('ann').get(path)).result_id).toBe(items[0].id)
})

test('what cannot be asked for is refused at once, and a repeated request asks once', async () => {
  const { as } = await startCore()
  expect((await as('ann').post('/commands', { device_id: 'MTR-2', name: TYPE })).status).toBe(422)
  expect((await as('eve').post('/commands', { device_id: 'MTR-1', name: TYPE })).status).toBe(403)
  expect((await as('ann').post('/commands', { device_id: 'MTR-1', name: TYPE, payload: 7 })).status).toBe(422)
  const again = as('ann', { 'idempotency-key': 'once' })
  const body = { device_id: 'MTR-1', name: TYPE }
  expect((await again.post('/commands', body)).body.id).toBe((await again.post('/commands', body)).body.id)
  expect((await as('root').get('/approvals')).items).toHaveLength(1)
})

test('a task waits with all its sites, and so does trying it again', async () => {
  const { as } = await startCore()
  const wanted = { command_type: TYPE, device_ids: ['MTR-1'], options: { expires_in_ms: 1_000 } }
  expect((await as('ann').post('/tasks', { ...wanted, device_ids: ['MTR-1', 'MTR-2'] })).status).toBe(422)
  const asked = await as('ann').post('/tasks', wanted)
  expect(asked).toMatchObject({ status: 202, body: { kind: 'task', state: 'PENDING', site_ids: [1] } })
  expect((await as('root').get('/tasks')).items).toEqual([])
  const approved = await as('ben').post(`/approvals/${asked.body.id}/approve`)
  expect(approved.body).toMatchObject({ state: 'APPROVED', decided_by: 'ben' })
  const task = `/tasks/${approved.body.result_id}`
  expect(await as('ann').get(task)).toMatchObject({ requested_by: 'ann', command_type: TYPE })
  await until(async () => (await as('ann').get(task)).state === 'COMPLETED', { what: 'the task has run out of time' })
  const again = await as('ann').post(`${task}/retry`)
  expect(again).toMatchObject({ status: 202, body: { kind: 'task-retry', state: 'PENDING' } })
  expect((await as('ann').get(task)).round).toBe(1)
  expect((await as('ben').post(`/approvals/${again.body.id}/approve`)).status).toBe(200)
  expect((await as('ann').get(task)).round).toBe(2)
})
