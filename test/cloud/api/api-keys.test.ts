import { expect, test } from 'vitest'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import { startAccountApi } from '../../support/account-api.ts'
import { PASSWORD } from '../../support/identity-core.ts'
import { getJson, sendJson } from '../../support/json-request.ts'
import { KeptActivities } from '../../support/recorded.ts'
import { until } from '../../support/until.ts'

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

async function started() {
  const kept = new KeptActivities()
  const account = await startAccountApi({ api: { activities: kept } })
  const { addUser, url } = account
  await addUser('ann', [{ role: 'engineer', siteId: 'all' }])
  await addUser('vic', [{ role: 'viewer', siteId: 'all' }])
  const as = async (userId: string) => {
    const login = await sendJson(`${url}/api/v1/auth/login`, 'POST', { userId, password: PASSWORD })
    return bearer(login.body.accessToken)
  }
  return { ...account, kept, keysUrl: `${url}/api/v1/api-keys`, ann: await as('ann'), vic: await as('vic') }
}

const WANTED = { name: 'billing', scopes: ['sites:read'], grants: [{ role: 'viewer', siteId: 'all' }] }

test('a key does what its scopes name and its grants allow, until it is revoked', async () => {
  const { url, keysUrl, ann, kept } = await started()
  const made = await sendJson(keysUrl, 'POST', WANTED, ann)
  expect(made.status).toBe(201)
  expect(kept.take().at(-1)?.metadata).toMatchObject({ scopes: WANTED.scopes, give: WANTED.grants })
  expect(made.headers.get('cache-control')).toBe('no-store')
  const { key, ...shown } = made.body
  expect(shown).toMatchObject({ ...WANTED, createdBy: 'ann', expiresAt: null, revokedAt: null })
  expect((await getJson(`${url}${made.headers.get('location')}`, ann)).body).toEqual(shown)
  expect(JSON.stringify((await getJson(keysUrl, ann)).body)).not.toContain(key)

  expect((await getJson(`${url}/api/v1/sites`, bearer(key))).status).toBe(200)
  const beyond = await getJson(`${url}/api/v1/devices`, bearer(key))
  expect(beyond).toMatchObject({ status: 403, body: { code: 'SCOPE_MISSING' } })
  const write = await sendJson(`${url}/api/v1/sites`, 'POST', { id: 1 }, bearer(key))
  expect(write).toMatchObject({ status: 403, body: { code: 'SCOPE_MISSING' } })
  expect((await getJson(`${url}/api/v1/auth/me`, bearer(key))).body).toMatchObject({
    id: `api-key:${shown.id}`,
    kind: 'api-key',
    scopes: ['sites:read'],
  })

  const revoked = await sendJson(`${keysUrl}/${shown.id}/revoke`, 'POST', {}, ann)
  expect(revoked.body.revokedAt).not.toBeNull()
  const after = await getJson(`${url}/api/v1/sites`, bearer(key))
  expect(after).toMatchObject({ status: 401, body: { code: 'API_KEY_REVOKED' } })
})

test('a key can make no key, and nobody makes one with more than they have', async () => {
  const { keysUrl, identity, ann, vic } = await started()
  const post = (body: unknown, headers: Record<string, string>) => sendJson(keysUrl, 'POST', body, headers)
  const wide = await post({ ...WANTED, scopes: ['*:write'], grants: [{ role: 'engineer', siteId: 'all' }] }, ann)
  expect(await post(WANTED, bearer(wide.body.key))).toMatchObject({ status: 403, body: { code: 'PERSON_REQUIRED' } })
  expect(await post(WANTED, vic)).toMatchObject({ status: 403, body: { code: 'ROLE_MISSING' } })
  const admin = { ...WANTED, grants: [{ role: 'admin', siteId: 1 }] }
  expect(await post(admin, ann)).toMatchObject({ status: 403, body: { code: 'ROLE_MISSING' } })
  const steering = { ...WANTED, name: 'a\u009b31m' }
  expect(await post(steering, ann)).toMatchObject({ status: 422, body: { errors: [{ pointer: '/name' }] } })
  const unknown = await post({ ...WANTED, scopes: ['sites:all'], expiresAt: '2001-01-01T00:00:00Z' }, ann)
  expect(unknown).toMatchObject({
    status: 422,
    body: { errors: [{ pointer: '/scopes', value: 'sites:all' }, { pointer: '/expiresAt' }] },
  })
  expect(unknown.body.errors[0].remedy).toContain('api-keys, auth')
  const none = await getJson(`${keysUrl}/${wide.body.id}`, vic)
  expect(none.status).toBe(404)
  expect((await getJson(keysUrl, vic)).body.items).toEqual([])
  expect((await sendJson(`${keysUrl}/${wide.body.id}/revoke`, 'POST', {}, vic)).status).toBe(404)
  await identity.users.change('ann', { grants: [{ role: 'viewer', siteId: 1 }] }, LOCAL_CALLER)
  expect((await sendJson(`${keysUrl}/${wide.body.id}/revoke`, 'POST', {}, ann)).status).toBe(200)
})

test('an open WebSocket of a key closes when the key is revoked', async () => {
  const { keysUrl, core, ann } = await started()
  const made = await sendJson(keysUrl, 'POST', { ...WANTED, scopes: ['*:read'] }, ann)
  const socket = new WebSocket(core.webSocketUrl, ['busbar', `bearer.${made.body.key}`])
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = reject
  })
  let closedWith = 0
  socket.onclose = ({ code }) => {
    closedWith = code
  }
  await sendJson(`${keysUrl}/${made.body.id}/revoke`, 'POST', {}, ann)
  await until(() => closedWith !== 0, { timeoutMs: 8_000 })
  expect(closedWith).toBe(4401)
})
