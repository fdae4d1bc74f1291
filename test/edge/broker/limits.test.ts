import { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../../shared/clock.ts'
import { until } from '../../support/until.ts'
import {
  connectFrame,
  DISCONNECT,
  framesOf,
  PINGREQ,
  pubackIds,
  publishFrame,
  subscribeFrame,
} from './support/frames.ts'
import { device } from './support/secure-site.ts'
import { mqttClient, type RawClient, type Site, startSite } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const NOT_AUTHORIZED = /Not authorized/
/** Where others would come from; this machine itself is limited less. */
const outside = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address

async function loggedIn(site: Site, clientId = 'raw'): Promise<RawClient> {
  const raw = await site.socket()
  raw.send(connectFrame({ clientId }))
  await until(() => raw.received.length >= 4)
  return raw
}

describe('a client that sends too fast', () => {
  test('is read as fast as it may, and loses nothing', async () => {
    const site = await startSite({ limits: { publishRateMax: 400 } })
    const raw = await loggedIn(site)
    const since = performance.now()
    const count = 800
    raw.send(Buffer.concat(Array.from({ length: count }, (_, i) => publishFrame(TOPIC, `${i}`, { id: i + 1 }))))
    await until(() => raw.received.length === 4 + 4 * count)
    // The first second's worth at once, the rest in its time.
    expect(performance.now() - since).toBeGreaterThan(700)
    expect(pubackIds(raw.received)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
    expect(site.log.of(TOPIC)).toHaveLength(count)
    expect(site.broker.stats().throttled).toBeGreaterThan(0)
    expect(raw.closed).toBe(false)
  })

  test('loses nothing either when it leaves at once, and is not taken for one that was lost', async () => {
    const site = await startSite({ limits: { publishRateMax: 100 } })
    const raw = await site.socket()
    raw.send(connectFrame({ clientId: 'hasty', will: { topic: 'sites/1/devices/INV-001/status', payload: 'OFFLINE' } }))
    await until(() => raw.received.length >= 4)
    const count = 300
    raw.send(
      Buffer.concat([...Array.from({ length: count }, (_, i) => publishFrame(TOPIC, `${i}`, { qos: 0 })), DISCONNECT]),
    )
    raw.socket.end()
    await until(() => raw.closed)
    await until(() => site.log.of(TOPIC).length === count)
    expect(site.log.of('sites/1/devices/INV-001/status')).not.toContain('OFFLINE')
  })

  test('delays nobody else, and may do so by anything it sends', async () => {
    const site = await startSite({ limits: { publishRateMax: 100 } })
    const raw = await loggedIn(site)
    raw.send(Buffer.concat(Array.from({ length: 1000 }, () => PINGREQ)))
    await until(() => site.broker.stats().throttled > 0)
    expect(framesOf(raw.received).length).toBeLessThan(600)
    const healthy = await site.client()
    const since = performance.now()
    await healthy.publishAsync(TOPIC, '{}', { qos: 1 })
    expect(performance.now() - since).toBeLessThan(200)
  })
})

describe('the connections of one login', () => {
  test('are so many, so that it takes nobody else the place; its own clients may come back', async () => {
    const site = await startSite({ insecure: false, limits: { connectionsPerLoginMax: 2 } })
    const login = site.login(device('INV-001'))
    const first = await site.client({ ...login, clientId: 'a' })
    await site.client({ ...login, clientId: 'b' })
    await expect(site.client({ ...login, clientId: 'c' })).rejects.toThrow('Server unavailable')
    expect(site.broker.stats().refused['login-connections']).toBe(1)
    await site.client({ ...login, clientId: 'b' })
    await site.client({ ...site.login(device('INV-002')), clientId: 'd' })
    await first.endAsync()
    await until(() => site.broker.stats().connections === 2)
    await site.client({ ...login, clientId: 'c' })
  })
})

describe('subscriptions', () => {
  test('beyond the limit are refused, and it may have others instead', async () => {
    const site = await startSite({ limits: { subscriptionsPerClientMax: 3 } })
    const client = await site.client()
    const filter = (i: number) => `sites/${i}/devices/+/#`
    for (let i = 1; i <= 3; i++) await client.subscribeAsync(filter(i))
    await client.subscribeAsync(filter(3), { qos: 1 })
    await expect(client.subscribeAsync(filter(4))).rejects.toThrow()
    await client.unsubscribeAsync(filter(1))
    await client.subscribeAsync(filter(4))
    expect(site.broker.stats().refused['too-many-subscriptions']).toBe(1)
  })

  test.each([
    ['too many levels', subscribeFrame(1, 'a/'.repeat(20)), 'topic-too-long'],
    ['too many bytes', subscribeFrame(1, `sites/${'x'.repeat(600)}`), 'topic-too-long'],
    ['a topic of too many levels', publishFrame(`${TOPIC}${'/x'.repeat(20)}`, ''), 'topic-too-long'],
    ['a topic of 60,000 slashes', publishFrame('/'.repeat(60_000), ''), 'topic-too-long'],
  ] as const)('with %s close the connection', async (_what, bytes, reason) => {
    const site = await startSite()
    const raw = await loggedIn(site)
    raw.send(bytes)
    await until(() => raw.closed)
    expect(site.broker.stats().refused[reason]).toBe(1)
  })

  test('in a packet with more than a client may have close the connection', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    const one = subscribeFrame(1, 'sites/1/devices/+/#').subarray(4)
    const body = Buffer.concat([Buffer.of(0, 1), ...Array.from({ length: 101 }, () => one)])
    raw.send(Buffer.concat([Buffer.of(0x82, (body.length & 0x7f) | 0x80, body.length >> 7), body]))
    await until(() => raw.closed)
    expect(site.broker.stats().refused['too-many-subscriptions']).toBe(1)
  })
})

describe('guessing', () => {
  test('locks a username out, even for its right password, until the logins change', async () => {
    let look = (): void => undefined
    const clock: Clock = {
      ...systemClock,
      every(periodMs, fn) {
        if (periodMs !== 1000) return systemClock.every(periodMs, fn)
        look = fn
        return { cancel: () => undefined }
      },
    }
    const site = await startSite({ insecure: false, clock, limits: { loginFailuresMax: 3 } })
    const login = site.login(device('INV-001'))
    const other = site.login(device('INV-002'))
    look()
    for (let i = 0; i < 3; i++) await expect(site.client({ ...login, password: `guess ${i}` })).rejects.toThrow()
    await expect(site.client(login)).rejects.toThrow(NOT_AUTHORIZED)
    await site.client(other)
    expect(site.broker.stats()).toMatchObject({ lockouts: 1, refused: { 'bad-credentials': 3, 'locked-out': 1 } })
    look()
    await expect(site.client(login)).rejects.toThrow(NOT_AUTHORIZED)
    site.login(device('INV-003'))
    look()
    await site.client(login)
  })

  test.skipIf(outside === undefined)(
    'locks an address out at its door (needs an address beyond loopback)',
    async () => {
      const limits = { loginFailuresMax: 2, loginFailuresPerAddressMax: 4, lockoutMs: 300 }
      const host = outside as string
      const site = await startSite({ insecure: false, limits, listeners: { tcp: { host, port: 0 } } })
      const knock = (options: object) => mqttClient(`mqtt://${host}:${site.port}`, options)
      const login = site.login(device('INV-001'))
      for (let i = 0; i < 4; i++) {
        await expect(knock({ username: `guess-${i}`, password: 'x' })).rejects.toThrow(/Bad username/)
      }
      await expect(knock(login)).rejects.toThrow(/closed|reset|ECONNRESET/i)
      expect(site.broker.stats().refused['locked-out']).toBeGreaterThan(0)
      await until(() => knock(login).catch(() => null), { timeoutMs: 5000 })
    },
  )
})
