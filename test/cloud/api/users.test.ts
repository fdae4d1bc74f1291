import { expect, test } from 'vitest'
import { startIdentityApi } from '../../support/identity-api.ts'
import { PASSWORD } from '../../support/identity-core.ts'

const ROOT = { role: 'admin', siteId: 'all' } as const
const at = (role: 'viewer' | 'operator' | 'engineer' | 'admin' | 'auditor', siteId: number) => ({ role, siteId })

test('an administrator makes a user, who chooses a password by a link and logs in', async () => {
  const { as, send, url } = await startIdentityApi()
  const root = await as('root', ROOT)
  const wanted = { id: 'ann', name: 'Ann', grants: [at('operator', 1)] }
  const made = await send('POST', '/users', wanted, root)
  expect(made).toMatchObject({ status: 201, body: { id: 'ann', hasPassword: false, grants: wanted.grants } })
  expect(made.headers.get('location')).toBe('/api/v1/users/ann')
  expect(await send('POST', '/users', wanted, root)).toMatchObject({ status: 409, body: { code: 'USER_EXISTS' } })
  const link = await send('POST', '/users/ann/password-link', undefined, root)
  expect(link.status).toBe(201)
  const choice = { token: link.body.token, password: PASSWORD }
  expect(await send('POST', '/auth/password', choice)).toMatchObject({ status: 200, body: { userId: 'ann' } })
  expect(await send('POST', '/auth/password', choice)).toMatchObject({ status: 401, body: { code: 'LINK_INVALID' } })
  const login = await send('POST', '/auth/login', { userId: 'ann', password: PASSWORD })
  const ann = login.body.accessToken
  const own = await send('GET', '/users/ann/logins', undefined, ann)
  expect(own.body.items).toMatchObject([{ id: login.body.loginId, method: 'password', current: true }])
  expect(await send('GET', '/users/ann/logins', undefined, root)).toMatchObject({ status: 403 })
  const granted = await send('POST', '/users/ann/grants', { give: [at('viewer', 2)], take: [at('operator', 1)] }, root)
  expect(granted.body.grants).toEqual([at('viewer', 2)])
  const listed = await send('GET', '/users?limit=1', undefined, root)
  expect(listed.body).toMatchObject({ items: [{ id: 'ann' }], nextCursor: expect.any(String) })
  expect(await send('DELETE', '/users/ann/logins', undefined, root)).toMatchObject({ status: 200, body: { ended: 1 } })
  expect(await send('GET', '/auth/me', undefined, ann)).toMatchObject({ status: 401 })
  const disabled = await send('PATCH', '/users/ann', { status: 'disabled' }, root)
  expect(disabled).toMatchObject({ status: 200, body: { status: 'disabled' } })
  const last = await send('PATCH', '/users/root', { status: 'disabled' }, root)
  expect(last).toMatchObject({ status: 409, body: { code: 'LAST_ADMINISTRATOR' } })
  // What is remembered for idempotency keys holds nothing to log in with.
  const headers = { authorization: `Bearer ${root}`, 'content-type': 'application/json', 'idempotency-key': 'k1' }
  await send('PATCH', '/users/ann', { status: 'active' }, root)
  const keyed = () => fetch(`${url}/api/v1/users/ann/password-link`, { method: 'POST', headers, body: '{}' })
  const [first, second] = [await (await keyed()).text(), await (await keyed()).text()]
  expect(JSON.parse(first).token).not.toBe(JSON.parse(second).token)
})

test('what is recorded says which roles a new user got, and whether one was disabled', async () => {
  const { as, send, kept } = await startIdentityApi()
  const root = await as('root', ROOT)
  const grants = [at('operator', 1)]
  await send('POST', '/users', { id: 'ann', grants }, root)
  await send('PATCH', '/users/ann', { status: 'disabled' }, root)
  expect(kept.take().map(({ activityType, metadata }) => ({ activityType, metadata }))).toMatchObject([
    { activityType: 'create_user', metadata: { give: grants } },
    { activityType: 'change_user', metadata: { changed: ['status'], userStatus: 'disabled' } },
  ])
})

test('the same request to make a user sent twice makes one', async () => {
  const { as, url } = await startIdentityApi()
  const root = await as('root', ROOT)
  const headers = { authorization: `Bearer ${root}`, 'content-type': 'application/json', 'idempotency-key': 'make-ann' }
  const body = JSON.stringify({ id: 'ann', grants: [] })
  const make = async () => {
    const response = await fetch(`${url}/api/v1/users`, { method: 'POST', headers, body })
    return { status: response.status, body: await response.json() }
  }
  const first = await make()
  expect(first.status).toBe(201)
  expect(await make()).toEqual(first)
})

test('a user of other sites does not exist for who administers some, in the words for one who does not', async () => {
  const { as, addUser, send } = await startIdentityApi()
  const eve = await as('eve', at('admin', 1))
  await addUser('within', [at('viewer', 1)], null)
  await addUser('beyond', [at('viewer', 1), at('viewer', 2)], null)
  await addUser('root', [ROOT], null)
  await addUser('nowhere', [], null)
  const requests: readonly (readonly [string, string, unknown?])[] = [
    ['GET', ''],
    ['PATCH', '', { status: 'disabled' }],
    ['POST', '/grants', { give: [at('viewer', 1)] }],
    ['POST', '/password-link', {}],
    ['DELETE', '/logins'],
  ]
  for (const [method, path, body] of requests) {
    const missing = await send(method, `/users/missing${path}`, body, eve)
    expect(missing).toMatchObject({ status: 404, body: { code: 'NOT_FOUND' } })
    for (const id of ['beyond', 'root', 'nowhere']) {
      const answer = await send(method, `/users/${id}${path}`, body, eve)
      const renamed = JSON.parse(JSON.stringify(answer.body).replaceAll(id, 'missing'))
      expect({ status: answer.status, body: renamed }, `${method} ${id}${path}`).toEqual({
        status: missing.status,
        body: missing.body,
      })
    }
  }
  expect(await send('PATCH', '/users/within', { name: 'W' }, eve)).toMatchObject({ status: 200 })
  const listed = await send('GET', '/users', undefined, eve)
  expect(listed.body.items.map(({ id }: { id: string }) => id)).toEqual(['eve', 'within'])
  const given = await send('POST', '/users/within/grants', { give: [ROOT] }, eve)
  expect(given).toMatchObject({ status: 403, body: { code: 'ROLE_MISSING' } })
  const raised = await send('POST', '/users/eve/grants', { give: [ROOT] }, eve)
  expect(raised).toMatchObject({ status: 403 })
})

test('users are for administrators; auditors look on, and everybody else does not', async () => {
  const { as, send } = await startIdentityApi()
  const engineer = await as('engineer', at('engineer', 1))
  const auditor = await as('auditor', { role: 'auditor', siteId: 'all' })
  for (const path of ['/users', '/users/auditor']) {
    expect(await send('GET', path, undefined, engineer)).toMatchObject({ status: 403, body: { code: 'ROLE_MISSING' } })
    expect(await send('GET', path, undefined, auditor)).toMatchObject({ status: 200 })
    expect(await send('GET', path)).toMatchObject({ status: 401 })
  }
  for (const token of [engineer, auditor]) {
    const made = await send('POST', '/users', { id: 'new', grants: [] }, token)
    expect(made).toMatchObject({ status: 403, body: { code: 'ROLE_MISSING' } })
    expect(await send('PATCH', '/users/engineer', { grants: [ROOT] }, token)).toMatchObject({ status: 403 })
    expect(await send('POST', '/users/auditor/password-link', {}, token)).toMatchObject({ status: 403 })
  }
})

test('users end their own logins, and a login of somebody else is none', async () => {
  const { as, logIn, send } = await startIdentityApi()
  const ann = await as('ann', at('viewer', 1))
  await as('bob', at('viewer', 1))
  const annElsewhere = await logIn('ann')
  const bob = await logIn('bob')
  expect(await send('DELETE', `/users/bob/logins/${bob.loginId}`, undefined, ann)).toMatchObject({ status: 403 })
  expect(await send('DELETE', `/users/ann/logins/${bob.loginId}`, undefined, ann)).toMatchObject({ status: 404 })
  expect(await send('DELETE', `/users/ann/logins/${annElsewhere.loginId}`, undefined, ann)).toMatchObject({
    status: 204,
  })
  expect(await send('GET', '/auth/me', undefined, annElsewhere.accessToken)).toMatchObject({ status: 401 })
  expect(await send('GET', '/auth/me', undefined, bob.accessToken)).toMatchObject({ status: 200 })
})
