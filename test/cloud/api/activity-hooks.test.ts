/** What is recorded of logins, of what is refused and of WebSockets; that no secret is; and how a request is named. */

import { Type } from '@sinclair/typebox'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import type { NewActivity } from '../../../cloud/activity/activity.ts'
import { doerOf } from '../../../cloud/api/http/doer.ts'
import { Problem } from '../../../cloud/api/http/problem.ts'
import { defineRoute, type Reply } from '../../../cloud/api/http/route.ts'
import { createRouter, type RouterOptions } from '../../../cloud/api/http/router.ts'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import { systemClock } from '../../../shared/clock.ts'
import { type Logger, silentLogger } from '../../../shared/log.ts'
import { startAccountApi } from '../../support/account-api.ts'
import { startApiCore } from '../../support/api-core.ts'
import { freePort } from '../../support/free-port.ts'
import { PASSWORD } from '../../support/identity-core.ts'
import { RedirectWalk, startIdentityProvider } from '../../support/identity-provider.ts'
import { sendJson } from '../../support/json-request.ts'
import { LeakWatch } from '../../support/planted-secrets.ts'
import { KeptActivities } from '../../support/recorded.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { until } from '../../support/until.ts'

/** What tells entries apart here. */
const short = ({ userId, activityType, outcome, objectType, objectId, metadata = {} }: NewActivity) => {
  const { sessionId, code } = metadata
  return { userId, activityType, outcome, objectType, objectId, sessionId, code }
}
const entry = (activityType: string, userId: string, outcome: string, more: object = {}) => ({
  ...{ activityType, userId, outcome, objectType: 'login', objectId: undefined, sessionId: undefined, code: undefined },
  ...more,
})

async function startAccount(options: Parameters<typeof startAccountApi>[0] = {}) {
  const kept = new KeptActivities()
  const account = await startAccountApi({ ...options, api: { activities: kept, ...options.api } })
  const post = (path: string, body: unknown, headers = {}) => {
    return sendJson(`${account.url}/api/v1/auth/${path}`, 'POST', body, headers).catch(() => null)
  }
  return { ...account, kept, post }
}

test('logins are recorded for whom they are of, in the login itself, and an unknown name for nobody; no secret in any', async () => {
  const { kept, post, addUser } = await startAccount({ settings: { loginFailuresMax: 2 } })
  await addUser('ann', [{ role: 'viewer', siteId: 1 }])
  const leaks = new LeakWatch({
    password: PASSWORD,
    wrongPassword: 'planted-wrong-one',
    unknownUser: 'planted-user-name',
  })
  await post('login', { userId: 'planted-user-name', password: 'planted-wrong-one' })
  await post('login', { userId: 'ann', password: 'planted-wrong-one' })
  const opened = await post('login', { userId: 'ann', password: PASSWORD })
  const { loginId, accessToken, refreshToken } = opened?.body ?? {}
  const refreshed = (await post('refresh', { refreshToken }))?.body
  await post('logout', { refreshToken: refreshed.refreshToken }, { authorization: `Bearer ${accessToken}` })
  await post('refresh', { refreshToken })
  for (let i = 0; i < 3; i++) await post('login', { userId: 'ann', password: 'planted-wrong-one' })
  leaks.plant('access token', accessToken)
  leaks.plant('refresh token', refreshToken)
  leaks.plant('second refresh token', refreshed.refreshToken)
  leaks.see('the entries', JSON.stringify(kept.entries))
  const own = { objectId: loginId, sessionId: loginId }
  const failed = { code: 'LOGIN_FAILED' }
  expect(kept.take().map(short)).toEqual([
    entry('login', 'anonymous', 'REFUSED', failed),
    entry('login', 'ann', 'REFUSED', failed),
    entry('login', 'ann', 'SUCCESS', own),
    entry('login_refreshed', 'ann', 'SUCCESS', own),
    entry('logout', 'ann', 'SUCCESS', own),
    entry('login_refreshed', 'anonymous', 'REFUSED', { code: 'LOGIN_ENDED' }),
    entry('login', 'ann', 'REFUSED', failed),
    entry('login', 'ann', 'REFUSED', failed),
    entry('login', 'ann', 'REFUSED', { code: 'LOCKED_OUT' }),
  ])
  expect(leaks.seenBytes).toBeGreaterThan(1_000)
  expect(leaks.leaks()).toEqual([])
})

test('links are recorded for who came by them, and never themselves', async () => {
  const { kept, post, identity } = await startAccount()
  const setUp = (await identity.setup.ensureSetupLink())?.token ?? ''
  const leaks = new LeakWatch({ setUp, password: PASSWORD })
  const first = { token: setUp, userId: 'root', password: PASSWORD }
  await post('setup', first)
  await post('setup', first)
  const choice = (await identity.users.passwordLink('root', LOCAL_CALLER))?.token ?? ''
  leaks.plant('link', choice)
  await post('password', { token: choice, password: `${PASSWORD}!` })
  await post('password', { token: choice, password: `${PASSWORD}!` })
  leaks.see('the entries', JSON.stringify(kept.entries))
  const [root, nobody] = [
    { objectType: 'user', objectId: 'root' },
    { objectType: 'user', code: 'LINK_INVALID' },
  ]
  expect(kept.take().map(short)).toEqual([
    entry('set_up', 'root', 'SUCCESS', root),
    entry('set_up', 'anonymous', 'REFUSED', nobody),
    entry('choose_password', 'root', 'SUCCESS', root),
    entry('choose_password', 'anonymous', 'REFUSED', nobody),
  ])
  expect(leaks.leaks()).toEqual([])
})

test('a login at an identity provider is recorded when the browser comes back, and when it comes back with nothing', async () => {
  const port = await freePort()
  const callbackUrl = `http://127.0.0.1:${port}/api/v1/auth/oidc/callback`
  const provider = await startIdentityProvider([callbackUrl])
  provider.account = { sub: 'subject-1', preferred_username: 'ann', groups: ['ops'] }
  const { kept, url } = await startAccount({ provider, api: { port } })
  const browser = new RedirectWalk()
  const callback = await browser.follow(`${url}/api/v1/auth/oidc/start`, callbackUrl)
  expect(kept.take()).toEqual([])
  expect((await browser.get(callback)).status).toBe(302)
  await fetch(callback)
  const [done, refused] = kept.take()
  expect(short(done as NewActivity)).toMatchObject({ userId: 'ann', activityType: 'login', outcome: 'SUCCESS' })
  expect(done?.objectId).toMatch(/^[0-9a-f]{32}$/)
  expect(done?.metadata).toMatchObject({ path: '/api/v1/auth/oidc/callback', sessionId: done?.objectId })
  expect(short(refused as NewActivity)).toMatchObject({
    userId: 'anonymous',
    activityType: 'login',
    outcome: 'REFUSED',
  })
  expect(JSON.stringify([done, refused])).not.toContain(callback.searchParams.get('code'))
})

test('what is refused is recorded with the reason: who may not, and where it came from, of calls that read as well', async () => {
  const kept = new KeptActivities()
  const logins = new TestLogins()
  const token = logins.add('ann', [{ role: 'viewer', siteId: 1 }])
  const key = logins.add('api-key:k1', [{ role: 'admin', siteId: 'all' }], ['telemetry:read'])
  const { url } = await startApiCore({ authentication: logins, activities: kept })
  const sites = `${url}/api/v1/sites`
  const get = (path: string, headers: Record<string, string>) => fetch(path, { headers })
  const bearer = { authorization: `Bearer ${token}` }
  await get(sites, bearer)
  expect(kept.take()).toEqual([])
  await sendJson(sites, 'POST', { id: 1 }, bearer)
  await get(`${url}/metrics`, bearer)
  await get(sites, { authorization: `Bearer ${key}` })
  await get(`${sites}?secret=planted`, { authorization: 'Bearer planted' })
  await get(sites, { ...bearer, host: 'evil.example' })
  await sendJson(sites, 'POST', { id: 1 }, { ...bearer, origin: 'https://evil.example' })
  await get(`${sites}/planted%20token`, {})
  expect(JSON.stringify(kept.entries)).not.toContain('planted')
  const site = { objectType: 'site' }
  const ann = { sessionId: 'login-ann', code: 'ROLE_MISSING' }
  const refused = (userId: string, more: object) => entry('access_refused', userId, 'REFUSED', { ...site, ...more })
  expect(kept.take().map(short)).toEqual([
    entry('create_site', 'ann', 'REFUSED', { ...site, ...ann }),
    refused('ann', { ...ann, objectType: undefined }),
    refused('api-key:k1', { sessionId: 'login-api-key:k1', code: 'SCOPE_MISSING' }),
    refused('anonymous', { code: 'UNAUTHENTICATED' }),
    refused('anonymous', { code: 'HOST_REFUSED' }),
    refused('anonymous', { code: 'ORIGIN_REFUSED' }),
    refused('anonymous', { code: 'UNAUTHENTICATED' }),
  ])
})

test('a WebSocket is recorded when it is opened, and when it is not', async () => {
  const kept = new KeptActivities()
  const logins = new TestLogins()
  const token = logins.add('ann', [{ role: 'viewer', siteId: 1 }])
  const { webSocketUrl } = await startApiCore({ authentication: logins, activities: kept })
  const connect = (headers: Record<string, string>) => {
    const socket = new WebSocket(webSocketUrl, { headers: { 'user-agent': 'console', ...headers } })
    onTestFinished(() => socket.terminate())
    socket.on('error', () => undefined)
    return socket
  }
  const socket = connect({ authorization: `Bearer ${token}`, 'x-request-id': 'socket-1' })
  await until(() => socket.readyState === WebSocket.OPEN)
  const [opened] = await until(() => (kept.entries.length > 0 ? kept.take() : null))
  expect(opened).toMatchObject({
    ...{ userId: 'ann', activityType: 'websocket_connect', outcome: 'SUCCESS', correlationId: 'socket-1' },
    metadata: { ipAddress: '127.0.0.1', userAgent: 'console', sessionId: 'login-ann', status: 101 },
  })
  socket.send(JSON.stringify({ type: 'subscribe', id: 's1', channel: 'telemetry', filter: { siteId: 2 } }))
  expect(await until(() => (kept.entries.length > 0 ? kept.take() : null))).toMatchObject([
    {
      ...{ userId: 'ann', activityType: 'access_refused', outcome: 'REFUSED', correlationId: 'socket-1' },
      metadata: {
        ipAddress: '127.0.0.1',
        userAgent: 'console',
        sessionId: 'login-ann',
        code: 'ROLE_MISSING',
        asked: 'telemetry',
      },
    },
  ])
  connect({})
  connect({ authorization: `Bearer ${token}`, origin: 'https://evil.example' })
  const refused = await until(() => (kept.entries.length > 1 ? kept.take() : null))
  expect(refused.map(({ activityType, userId, outcome }) => [activityType, userId, outcome]).toSorted()).toEqual([
    ['access_refused', 'anonymous', 'REFUSED'],
    ['websocket_connect', 'anonymous', 'REFUSED'],
  ])
})

/** A router with one route, which does whatever its body says. */
function tinyRouter(options: Partial<RouterOptions> = {}) {
  const replies = new Map<string, Reply>()
  const body = Type.Object({ userId: Type.Optional(Type.String()), fails: Type.Optional(Type.Boolean()) })
  const route = defineRoute(
    {
      ...{ method: 'POST', path: '/api/v1/things/:id/turn', operationId: 'turnThing', tag: 'things', summary: 'Turn' },
      ...{ permission: { role: 'operator', scope: 'global' }, idempotent: true, responses: {}, body },
      params: Type.Object({ id: Type.Integer() }),
    },
    ({ body: { userId, fails }, caller, activity }) => {
      if (fails) throw new Error('broken')
      doerOf({ caller, activity }, userId, '/userId')
      activity.more({ turned: true })
      return { status: 200, body: { siteId: 7 } }
    },
  )
  const kept = new KeptActivities()
  const app = createRouter({
    routes: [route],
    context: {
      bodyBytesMax: 1_000,
      async once(key, _route, _digest, work) {
        const reply = replies.get(key) ?? (await work(async () => undefined))
        replies.set(key, reply)
        return reply
      },
    },
    origins: { allowedOrigins: [], publicUrl: null, knowsHost: () => true },
    arrivalOf: () => ({ address: '192.0.2.7', secure: false, host: null }),
    callerOf: () => Promise.resolve(LOCAL_CALLER),
    activities: kept,
    clock: systemClock,
    log: silentLogger,
    onAnswer: () => undefined,
    onRefused: () => undefined,
    ...options,
  })
  const turn = (id: number | string, given: object, headers: Record<string, string> = {}): Promise<Response> => {
    const text = JSON.stringify(given)
    const sent = { 'content-type': 'application/json', 'content-length': String(text.length), ...headers }
    const request = { method: 'POST', headers: sent, body: text }
    return app.handle(new Request(`http://localhost/api/v1/things/${id}/turn?token=planted`, request))
  }
  return { kept, turn }
}

test('where nobody logs in it is recorded for whom the request says; one that came before says so', async () => {
  const { kept, turn } = tinyRouter()
  for (let i = 0; i < 2; i++) await turn(4, { userId: 'boss' }, { 'idempotency-key': 'k1' })
  const [first, second] = kept.take()
  expect(first).toMatchObject({
    ...{ userId: 'boss', activityType: 'turn_thing', objectType: 'thing', objectId: '4', siteId: 7 },
    metadata: { turned: true, path: '/api/v1/things/4/turn', method: 'POST' },
  })
  expect(second).toMatchObject({ userId: 'local', objectId: '4', siteId: 7, metadata: { repeated: true } })
  // What does not look like what it should be may be anything.
  expect((await turn('planted', {})).status).toBe(422)
  const [wrong] = kept.entries
  expect(wrong).toMatchObject({
    outcome: 'FAILURE',
    metadata: { path: '/api/v1/things/:id/turn', code: 'INVALID_INPUT' },
  })
  expect(JSON.stringify([first, second, wrong])).not.toContain('planted')
})

test('an answer waits until its entry is recorded', async () => {
  let recorded = (): void => undefined
  const waiting = { record: () => new Promise<void>((resolve) => (recorded = resolve)) }
  const { turn } = tinyRouter({ activities: waiting })
  let answered = false
  const answer = turn(4, { userId: 'boss' }).then((response) => {
    answered = true
    return response
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(answered).toBe(false)
  recorded()
  expect((await answer).status).toBe(200)
})

test('a request that did not come by a proxy is recorded with the address that it did come from', async () => {
  const arrivalOf = (): never => {
    throw new Problem('FORBIDDEN', 'No.', { code: 'PEER_REFUSED' })
  }
  const { kept, turn } = tinyRouter({ arrivalOf, peerOf: () => '203.0.113.9' })
  await turn(4, {})
  expect(kept.entries).toMatchObject([
    {
      activityType: 'access_refused',
      userId: 'anonymous',
      metadata: { ipAddress: '203.0.113.9', code: 'PEER_REFUSED' },
    },
  ])
})

test('a request has a name: its own if it is a plain one, in the answer, the entry and the log', async () => {
  const lines: object[] = []
  const log = Object.assign(Object.create(silentLogger), {
    error: (fields: object) => void lines.push(fields),
  }) as Logger
  const { kept, turn } = tinyRouter({ log })
  const named = async (given: string) => {
    const response = await turn(4, { fails: true }, given === '' ? {} : { 'x-request-id': given })
    return response.headers.get('x-request-id')
  }
  expect(await named('trace.1:a-b_c')).toBe('trace.1:a-b_c')
  const drawn = [await named(''), await named('x'.repeat(129)), await named('two words')]
  for (const name of drawn) expect(name).toMatch(/^req_[0-9a-f]{24}$/)
  expect(new Set(drawn).size).toBe(3)
  const names = ['trace.1:a-b_c', ...drawn]
  expect(kept.take().map(({ correlationId }) => correlationId)).toEqual(names)
  expect(lines).toMatchObject(names.map((correlationId) => ({ correlationId, path: '/api/v1/things/4/turn' })))
})
