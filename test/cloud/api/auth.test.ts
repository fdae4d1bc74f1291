import { expect, test } from 'vitest'
import { loginCookies, noCookies, refreshCookie } from '../../../cloud/api/http/cookies.ts'
import type { LoginTokens } from '../../../cloud/identity/identity.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { startIdentityApi } from '../../support/identity-api.ts'
import { PASSWORD } from '../../support/identity-core.ts'

const ROOT = { role: 'admin', siteId: 'all' } as const

test('from the set-up link to the first request: everything over REST', async () => {
  const { identity, send } = await startIdentityApi()
  const sites = await send('GET', '/sites')
  expect(sites).toMatchObject({ status: 401, body: { code: 'CREDENTIAL_MISSING' } })
  expect(sites.headers.get('www-authenticate')).toBe('Bearer')
  const token = (await identity.setup.ensureSetupLink())?.token
  const first = { token, userId: 'root', password: PASSWORD, name: 'Root' }
  const made = await send('POST', '/auth/setup', first)
  expect(made).toMatchObject({ status: 201, body: { id: 'root', grants: [ROOT], hasPassword: true } })
  expect(await send('POST', '/auth/setup', first)).toMatchObject({ status: 401, body: { code: 'LINK_INVALID' } })
  const login = await send('POST', '/auth/login', { userId: 'root', password: PASSWORD })
  expect(login).toMatchObject({ status: 200, body: { user: { id: 'root' } } })
  expect(login.headers.get('cache-control')).toBe('no-store')
  expect(login.headers.get('set-cookie')).toBeNull()
  const { accessToken, refreshToken, loginId } = login.body
  expect(await send('GET', '/sites', undefined, accessToken)).toMatchObject({ status: 200 })
  const me = await send('GET', '/auth/me', undefined, accessToken)
  expect(me.body).toMatchObject({ id: 'root', kind: 'user', loginId, scopes: null })
  expect(me.body.grants).toContainEqual(ROOT)
  const refreshed = await send('POST', '/auth/refresh', { refreshToken })
  expect(refreshed).toMatchObject({ status: 200, body: { loginId } })
  expect(await send('POST', '/auth/logout', {}, refreshed.body.accessToken)).toMatchObject({ status: 204 })
  for (const gone of [accessToken, refreshed.body.accessToken]) {
    expect(await send('GET', '/sites', undefined, gone)).toMatchObject({ status: 401, body: { code: 'LOGIN_ENDED' } })
  }
  const again = await send('POST', '/auth/refresh', { refreshToken: refreshed.body.refreshToken })
  expect(again).toMatchObject({ status: 401, body: { code: 'LOGIN_ENDED' } })
})

test('nobody is told that they are not logged in because the database is away', async () => {
  const { identity, send } = await startIdentityApi()
  expect(await send('GET', '/auth/me')).toMatchObject({ status: 401, body: { code: 'CREDENTIAL_MISSING' } })
  identity.authenticate = () =>
    Promise.reject(new BusbarError('away', { code: 'DATABASE_UNAVAILABLE', retryable: true }))
  expect(await send('GET', '/auth/me', undefined, 'x')).toMatchObject({
    status: 503,
    body: { code: 'DATABASE_UNAVAILABLE' },
  })
})

test('a wrong password, a user who does not exist, and one who is locked out', async () => {
  const { addUser, send } = await startIdentityApi()
  await addUser('ann')
  const attempt = (userId: string, password: string) => send('POST', '/auth/login', { userId, password })
  for (const userId of ['ann', 'nobody']) {
    for (let i = 0; i < 5; i++) {
      const wrong = await attempt(userId, 'wrong')
      expect(wrong).toMatchObject({ status: 401, body: { code: 'LOGIN_FAILED' } })
    }
    const locked = await attempt(userId, PASSWORD)
    expect(locked).toMatchObject({ status: 429, body: { code: 'LOCKED_OUT' } })
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(50)
    expect(JSON.stringify(locked.body)).not.toContain(userId)
  }
})

test('what is malformed is refused before anybody is looked up', async () => {
  const { send } = await startIdentityApi()
  const bodies = [{}, { userId: 'ann' }, { userId: "a' or 1=1", password: 'x' }, { userId: 'ann', password: 5 }]
  for (const body of bodies) expect(await send('POST', '/auth/login', body)).toMatchObject({ status: 422 })
  expect(await send('POST', '/auth/login', '{"userId":')).toMatchObject({ status: 400 })
  expect(await send('POST', '/auth/password', { password: PASSWORD })).toMatchObject({ status: 422 })
  const both = { password: PASSWORD, token: 'x', currentPassword: 'y' }
  expect(await send('POST', '/auth/password', both)).toMatchObject({ status: 422 })
  expect(await send('POST', '/auth/refresh')).toMatchObject({ status: 401 })
  expect(await send('POST', '/auth/logout')).toMatchObject({ status: 204 })
  expect(await send('GET', '/auth/me')).toMatchObject({ status: 401 })
  expect(await send('GET', '/auth/me', undefined, 'a.b.c')).toMatchObject({ status: 401 })
})

test('a refused password is not in the answer', async () => {
  const { as, send } = await startIdentityApi()
  const token = await as('ann')
  const password = 'planted'
  const answer = await send('POST', '/auth/password', { currentPassword: PASSWORD, password }, token)
  expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer: '/password' }] } })
  expect(JSON.stringify(answer.body)).not.toContain(password)
  const unquoted = await send('POST', '/auth/password', `{"password":${password}}`, token)
  expect(unquoted).toMatchObject({ status: 400, body: { code: 'BODY_MALFORMED' } })
  expect(JSON.stringify(unquoted.body)).not.toContain(password)
  const nobody = await send('POST', '/auth/password', { currentPassword: PASSWORD, password: 'another good one' })
  expect(nobody).toMatchObject({ status: 401 })
})

test('a browser logs in with cookies that no script reads, and the body holds no token', async () => {
  const { addUser, url } = await startIdentityApi()
  await addUser('ann', [{ role: 'viewer', siteId: 'all' }])
  const jar = new Map<string, string>()
  const cookie = () => [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
  const ask = async (method: string, path: string, body?: unknown) => {
    const headers: Record<string, string> = { cookie: cookie(), 'content-type': 'application/json', origin: url }
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
    const response = await fetch(`${url}/api/v1${path}`, init)
    for (const line of response.headers.getSetCookie()) {
      expect(line).toContain('; HttpOnly; SameSite=Strict')
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') jar.delete(name)
      else jar.set(name, value)
    }
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  }
  const login = await ask('POST', '/auth/login', { userId: 'ann', password: PASSWORD, cookies: true })
  expect(login.status).toBe(200)
  expect([...jar.keys()]).toEqual(['busbar_access', 'busbar_refresh'])
  for (const value of jar.values()) expect(JSON.stringify(login.body)).not.toContain(value)
  expect((await ask('GET', '/sites')).status).toBe(200)
  const before = new Map(jar)
  expect(await ask('POST', '/auth/refresh', {})).toMatchObject({ status: 200, body: { user: { id: 'ann' } } })
  expect(jar.get('busbar_refresh')).not.toBe(before.get('busbar_refresh'))
  expect((await ask('POST', '/auth/logout')).status).toBe(204)
  expect(jar.size).toBe(0)
  for (const [name, value] of before) jar.set(name, value)
  expect((await ask('GET', '/sites')).status).toBe(401)
  // The stale one is taken from the browser.
  expect((await ask('POST', '/auth/refresh')).status).toBe(401)
  expect(jar.has('busbar_refresh')).toBe(false)
})

test('over TLS the cookies are tied to this host, and what came by another way is none', () => {
  const client = { address: '192.0.2.1', secure: true }
  const tokens = { accessToken: 'a.b.c', expiresAtMs: 61_000, refreshToken: 'bbr_x', refreshExpiresAtMs: 121_000 }
  expect(loginCookies(tokens as LoginTokens, client, 1_000)).toEqual([
    '__Host-busbar_access=a.b.c; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure',
    '__Secure-busbar_refresh=bbr_x; Path=/api/v1/auth; Max-Age=120; HttpOnly; SameSite=Strict; Secure',
  ])
  for (const line of noCookies(client))
    expect(line).toMatch(/=; Path=.*; Max-Age=0; HttpOnly; SameSite=Strict; Secure$/)
  const planted = new Request('https://busbar.example', { headers: { cookie: 'busbar_refresh=bbr_planted' } })
  expect(refreshCookie(planted, client)).toBeNull()
  expect(refreshCookie(planted, { ...client, secure: false })).toBe('bbr_planted')
})

test('the documents describe how to log in, with the problems that may come of it', async () => {
  const { url } = await startIdentityApi()
  const document = JSON.parse(await (await fetch(`${url}/openapi.json`)).text())
  const login = document.paths['/api/v1/auth/login'].post
  expect(Object.keys(login.responses)).toEqual(expect.arrayContaining(['200', '401', '422', '429', '503']))
  expect(login.parameters).toBeUndefined()
  expect(document.paths['/api/v1/users/{userId}/password-link'].post.parameters).toHaveLength(1)
})
