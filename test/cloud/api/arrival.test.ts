import { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { arrivalOf, TrustedProxies } from '../../../cloud/api/http/arrival.ts'
import { plainAddress } from '../../../shared/network.ts'
import { startApiCore } from '../../support/api-core.ts'
import { getJson, sendJson } from '../../support/json-request.ts'
import { TestLogins } from '../../support/test-logins.ts'

const PROXIES = new TrustedProxies(['10.0.0.0/24', '127.0.0.1', 'fd00::/8'])

function arrive(headers: Record<string, string>, peer = '10.0.0.1', tls = false) {
  return arrivalOf({ headers: new Headers({ host: 'inner:8080', ...headers }) }, peer, tls, PROXIES)
}

describe('the way of a request', () => {
  test.each([
    ['203.0.113.9', '203.0.113.9'],
    // What the asker wrote itself stands to the left of what our proxy added.
    ['198.51.100.1, 203.0.113.9', '203.0.113.9'],
    ['203.0.113.9, 10.0.0.2', '203.0.113.9'],
    ['198.51.100.1, 203.0.113.9, 10.0.0.2, fd00::2', '203.0.113.9'],
    ['10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['rubbish, 10.0.0.2', '10.0.0.2'],
    ['203.0.113.9, rubbish', '10.0.0.1'],
    ['', '10.0.0.1'],
    [' 203.0.113.9:5678 ', '203.0.113.9'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    [`${'10.0.0.2, '.repeat(5000)}10.0.0.2`, '10.0.0.2'],
  ])('who asks, by X-Forwarded-For: %s', (forwardedFor, address) => {
    expect(arrive({ 'x-forwarded-for': forwardedFor }).address).toBe(address)
  })

  test('nobody but a proxy is believed', () => {
    const told = {
      'x-forwarded-for': '198.51.100.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'busbar.example',
    }
    expect(arrive(told, '10.0.1.1')).toEqual({ address: '10.0.1.1', secure: false, host: 'inner:8080' })
    expect(arrive(told, '10.0.1.1', true).secure).toBe(true)
    expect(arrive(told, '10.0.0.7')).toEqual({ address: '198.51.100.1', secure: true, host: 'busbar.example' })
  })

  test('TLS is what the asker spoke to the outermost proxy', () => {
    expect(arrive({ 'x-forwarded-proto': 'http' }, '10.0.0.1', true).secure).toBe(false)
    expect(arrive({ 'x-forwarded-proto': 'https, http' }).secure).toBe(false)
    expect(arrive({}, '10.0.0.1', true).secure).toBe(true)
  })

  test('an IPv4 address is one, whatever socket it came over', () => {
    expect(plainAddress('::ffff:10.0.0.1')).toBe('10.0.0.1')
    expect(plainAddress('2001:db8::1')).toBe('2001:db8::1')
  })

  test.each(['10.0.0.0/33', 'proxy.example', '10.0.0', '::/129', ''])('%s is no proxy', (proxy) => {
    expect(() => new TrustedProxies([proxy])).toThrow(expect.objectContaining({ code: 'API_PROXY_INVALID' }))
  })
})

test('behind a proxy its word counts for origins and cookies, and only what is named is believed', async () => {
  const logins = new TestLogins()
  const token = logins.add('ann', [{ role: 'admin', siteId: 'all' }])
  const options = { authentication: logins, trustedProxies: ['127.0.0.1'], allowedHosts: ['busbar.example'] }
  const { url } = await startApiCore(options)
  const cookie = { cookie: `__Host-busbar_access=${token}` }
  const proxied = {
    'x-forwarded-host': 'busbar.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-for': '203.0.113.9',
  }
  let next = 1
  const post = (headers: Record<string, string>) =>
    sendJson(`${url}/api/v1/sites`, 'POST', { id: next++ }, { ...cookie, ...headers })
  const own = await post({ ...proxied, origin: 'https://busbar.example' })
  expect(own.status).toBe(201)
  expect(own.headers.get('strict-transport-security')).toMatch(/^max-age=/)
  // Over TLS the cookie that anybody could have planted counts for nothing.
  const planted = { ...proxied, origin: 'https://busbar.example', cookie: `busbar_access=${token}` }
  expect((await post(planted)).status).toBe(401)
  expect((await post({ ...proxied, origin: 'http://busbar.example' })).status).toBe(403)
  expect((await post({ ...proxied, origin: url })).status).toBe(403)
  expect((await getJson(`${url}/api/v1/sites`, { ...cookie, 'x-forwarded-host': 'evil.example' })).status).toBe(421)

  const unnamed = await startApiCore({ ...options, trustedProxies: ['192.0.2.1'] })
  const direct = await getJson(`${unnamed.url}/api/v1/sites`, { ...cookie, ...proxied })
  expect(direct.status).toBe(200)
  expect(direct.headers.get('strict-transport-security')).toBeNull()
})

test('past the proxies nobody is answered but this machine', async () => {
  const core = await startApiCore({ authentication: new TestLogins(), trustedProxies: ['192.0.2.1'], host: '0.0.0.0' })
  const port = core.api.address().port
  expect((await getJson(`http://127.0.0.1:${port}/health/live`)).status).toBe(200)
  expect(new TrustedProxies(['192.0.2.1']).admits('192.0.2.2')).toBe(false)
  expect(new TrustedProxies(['192.0.2.1']).admits('192.0.2.1')).toBe(true)
  expect(new TrustedProxies([]).admits('192.0.2.2')).toBe(true)
  const elsewhere = ownAddress()
  if (elsewhere === undefined) return
  for (const path of ['/health/live', '/nothing', '/api/v1/sites']) {
    const answer = await getJson(`http://${elsewhere}:${port}${path}`)
    expect([answer.status, answer.body.code], path).toEqual([403, 'PEER_REFUSED'])
  }
  expect(await core.metrics.metrics()).toContain('busbar_api_requests_refused_total{code="PEER_REFUSED"} 3')
})

/** An address of this machine that is not loopback; a machine without a network has none. */
function ownAddress(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  return addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address
}
