import { describe, expect, test } from 'vitest'
import type { ApiOptions } from '../../../cloud/api/api.ts'
import type { Grant } from '../../../cloud/identity/identity.ts'
import { startApiCore } from '../../support/api-core.ts'
import { getJson, sendJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { TestLogins } from '../../support/test-logins.ts'

const ADMIN: Grant[] = [{ role: 'admin', siteId: 'all' }]
const EVIL = 'https://evil.example'
const CONSOLE = 'https://console.example'
const LINK = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }

async function start(options: Partial<ApiOptions> = {}) {
  const logins = new TestLogins()
  const token = logins.add('ann', ADMIN)
  const core = await startApiCore({ authentication: logins, allowedOrigins: [CONSOLE], ...options })
  const cookie = { cookie: `busbar_access=${token}` }
  const bearer = { authorization: `Bearer ${token}` }
  let next = 1
  /** The status, and the code of a refusal. */
  const post = async (headers: Record<string, string>) => {
    const { status, body } = await sendJson(`${core.url}/api/v1/sites`, 'POST', { id: next++ }, headers)
    return status === 201 ? 201 : `${status} ${body.code}`
  }
  const get = async (headers: Record<string, string>, path = '/api/v1/sites') => {
    const { status, body } = await getJson(core.url + path, headers)
    return status === 200 ? 200 : `${status} ${body.code}`
  }
  return { core, logins, token, cookie, bearer, post, get }
}

describe('a login in a cookie', () => {
  test('changes things for pages of this server only', async () => {
    const { core, cookie, post } = await start()
    expect(await post({ ...cookie, origin: core.url })).toBe(201)
    expect(await post({ ...cookie, 'sec-fetch-site': 'same-origin' })).toBe(201)
    const foreign: Record<string, string>[] = [
      {},
      { origin: EVIL },
      { origin: 'null' },
      { origin: CONSOLE },
      { origin: core.url.replace('http:', 'https:') },
      { origin: core.url.replace(/\d+$/, '1') },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'none' },
      LINK,
    ]
    for (const headers of foreign) {
      expect(await post({ ...cookie, ...headers }), JSON.stringify(headers)).toBe('403 ORIGIN_REFUSED')
    }
  })

  test('is not looked at for another page that reads; following a link is no reading', async () => {
    const { core, cookie, get } = await start()
    expect(await get(cookie)).toBe(200)
    expect(await get({ ...cookie, origin: core.url })).toBe(200)
    expect(await get({ ...cookie, ...LINK })).toBe(200)
    expect(await get({ ...cookie, origin: EVIL })).toBe('403 ORIGIN_REFUSED')
    expect(await get({ ...cookie, origin: CONSOLE })).toBe('403 ORIGIN_REFUSED')
    expect(await get({ ...cookie, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' })).toBe(
      '403 ORIGIN_REFUSED',
    )
  })

  test('opens a WebSocket from a page of this server only', async () => {
    const { core, cookie } = await start()
    const opens = async (headers: Record<string, string>) => {
      const client = await LiveTestClient.connect(core.webSocketUrl, { headers: { ...cookie, ...headers } })
      return client.socket.readyState === client.socket.OPEN
    }
    expect(await opens({ origin: core.url })).toBe(true)
    for (const origin of [EVIL, CONSOLE, 'null', `${core.url}.evil.example`])
      expect(await opens({ origin })).toBe(false)
    expect(await opens({})).toBe(false)
    expect(core.api.stats().clients).toBe(1)
  })

  test('counts for nothing beside a header; that of a refresh is as careful as that of access', async () => {
    const { cookie, bearer, logins, post } = await start()
    const bob = { authorization: `Bearer ${logins.add('bob', [{ role: 'viewer', siteId: 'all' }])}` }
    expect(await post({ ...cookie, ...bob })).toBe('403 ROLE_MISSING')
    expect(await post({ ...bearer, cookie: 'busbar_access=nobody' })).toBe(201)
    expect(await post({ cookie: '__Host-busbar_refresh=x', origin: EVIL })).toBe('403 ORIGIN_REFUSED')
    expect(await post({ cookie: 'somebody_elses=x' })).toBe('401 UNAUTHENTICATED')
  })
})

describe('what shows who asks', () => {
  test('rubbish in the header is refused, however good the cookie is', async () => {
    const { cookie, token, get } = await start()
    for (const authorization of [
      '',
      'Bearer',
      'Basic YTpi',
      token,
      `Bearer ${token} x`,
      `Bearer ${'x'.repeat(5000)}`,
    ]) {
      expect(await get({ ...cookie, authorization }), authorization.slice(0, 20)).toBe('401 UNAUTHENTICATED')
    }
    expect(await get({ authorization: `bearer  ${token}` })).toBe(200)
    expect(await get({ cookie: `busbar_access=nobody; __Host-busbar_access=${token}` })).toBe(200)
    expect(await get({ cookie: `busbar_access=; busbar_access=${token}` })).toBe('401 UNAUTHENTICATED')
  })

  test('routes for everybody answer whoever shows something that is no good', async () => {
    const { logins, get } = await start()
    expect(await get({ cookie: 'busbar_access=nobody' }, '/health/live')).toBe(200)
    expect(await get({ authorization: 'Basic YTpi' }, '/openapi.json')).toBe(200)
    logins.failing = new Error('the database is away')
    expect(await get({ cookie: 'busbar_access=nobody' }, '/health/live')).toBe(200)
  })

  test('a page of another origin opens a WebSocket with a token among the subprotocols', async () => {
    const { core, token } = await start()
    const connect = (origin: string, ...protocols: string[]) =>
      LiveTestClient.connect(core.webSocketUrl, { origin, protocols })
    const client = await connect(CONSOLE, 'busbar', `bearer.${token}`)
    expect(client.socket.protocol).toBe('busbar')
    await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
    expect((await connect(EVIL, 'busbar', `bearer.${token}`)).socket.protocol).toBe('')
    expect((await connect(CONSOLE, 'busbar', 'bearer.nobody')).socket.protocol).toBe('')
    expect(core.api.stats().clients).toBe(1)
  })
})

describe('pages of other origins', () => {
  test('those that are allowed may send a token and read the answer; no answer allows cookies', async () => {
    const { core, bearer } = await start()
    const preflight = {
      origin: CONSOLE,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    }
    const asked = await fetch(`${core.url}/api/v1/sites`, { method: 'OPTIONS', headers: preflight })
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe(CONSOLE)
    expect(asked.headers.get('access-control-allow-methods')).toContain('POST')
    expect(asked.headers.get('access-control-allow-headers')).toContain('authorization')
    const answers = [
      await sendJson(`${core.url}/api/v1/sites`, 'POST', { id: 1 }, { ...bearer, origin: CONSOLE }),
      await getJson(`${core.url}/api/v1/sites`, { ...bearer, origin: CONSOLE }),
      await getJson(`${core.url}/api/v1/sites`, { origin: CONSOLE }),
      await getJson(`${core.url}/nothing`, { origin: CONSOLE }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([201, 200, 401, 404])
    for (const { headers } of [asked, ...answers]) {
      expect(headers.get('access-control-allow-origin')).toBe(CONSOLE)
      expect(headers.get('vary')).toBe('origin')
      expect(headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  test('others are told nothing', async () => {
    const { core, bearer } = await start()
    const preflight = { origin: EVIL, 'access-control-request-method': 'POST' }
    const asked = await fetch(`${core.url}/api/v1/sites`, { method: 'OPTIONS', headers: preflight })
    expect(asked.status).toBe(405)
    const posted = await sendJson(`${core.url}/api/v1/sites`, 'POST', { id: 1 }, { ...bearer, origin: EVIL })
    expect(posted.body.code).toBe('ORIGIN_REFUSED')
    const read = await getJson(`${core.url}/api/v1/sites`, { ...bearer, origin: EVIL })
    for (const { headers } of [asked, posted, read]) expect(headers.get('access-control-allow-origin')).toBeNull()
    expect(await core.metrics.metrics()).toContain('busbar_api_requests_refused_total{code="ORIGIN_REFUSED"} 1')
  })
})

test('a host that is not ours is refused: its own, its addresses and the names in the config are', async () => {
  const { get, bearer } = await start({ publicUrl: 'https://Busbar.example', allowedHosts: ['inner.example'] })
  const asked = (host: string) => get({ ...bearer, host })
  for (const host of ['localhost:1', '127.0.0.1', '[::1]:80', '192.0.2.7:8080', 'busbar.example', 'Inner.Example:80']) {
    expect(await asked(host), host).toBe(200)
  }
  for (const host of ['rebound.example', 'busbar.example.evil', 'x.busbar.example', '127.0.0.1.evil.example']) {
    expect(await asked(host), host).toBe('421 HOST_REFUSED')
  }
})
