import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Broker } from '../../../edge/broker/broker.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { connectFrame, framesOf, publishFrame } from './support/frames.ts'
import { MemoryLog } from './support/memory-log.ts'
import { rawClient, startSite } from './support/site.ts'

const device = (serialNumber: string) => ({ role: 'device', siteId: 1, serialNumber }) as const
const NOT_AUTHORIZED = /Not authorized/
const BAD_CREDENTIALS = /Bad username or password/
const IDENTIFIER_REJECTED = /Identifier rejected/

describe('a login', () => {
  test('needs the right name and the right secret', async () => {
    const site = await startSite({ insecure: false })
    const login = site.login(device('INV-001'))
    await expect(site.client({ ...login, password: 'guess' })).rejects.toThrow(BAD_CREDENTIALS)
    await expect(site.client({ ...login, username: 'INV-002' })).rejects.toThrow(BAD_CREDENTIALS)
    await expect(site.client({ username: 'INV-001' })).rejects.toThrow(BAD_CREDENTIALS)
    await expect(site.client()).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused).toMatchObject({ 'bad-credentials': 3, anonymous: 1 })
    const client = await site.client(login)
    await client.publishAsync('sites/1/devices/INV-001/telemetry', '{}', { qos: 1 })
    expect(site.log.of('sites/1/devices/INV-001/telemetry')).toEqual(['{}'])
  })

  test('is checked where anonymous clients are let in, too', async () => {
    const site = await startSite({ insecure: true })
    await expect(site.client({ username: 'INV-001', password: 'x' })).rejects.toThrow(BAD_CREDENTIALS)
    await site.client()
  })

  test('works as soon as it was added, while the broker runs', async () => {
    const site = await startSite({ insecure: false })
    await expect(site.client()).rejects.toThrow()
    await site.client(site.login(device('INV-001')))
  })

  test('gets "server unavailable" while the file of logins is damaged', async () => {
    let now = 0
    const clock = { ...systemClock, monotonicMs: () => now }
    const site = await startSite({ insecure: false, clock })
    await writeFile(join(site.dir, 'credentials.json'), 'damaged')
    now += 1000
    await expect(site.client({ username: 'x', password: 'y' })).rejects.toThrow(/Server unavailable/)
  })

  test('of another kind can take the place of passwords', async () => {
    const site = await startSite({
      insecure: false,
      authenticator: {
        authenticate: ({ clientId }, arrival) => {
          if (clientId !== 'INV-009' || arrival.listener !== 'tcp')
            return { accepted: false, reason: 'bad-credentials' }
          return { accepted: true, identity: { role: 'device', username: clientId, siteId: 1, serialNumber: clientId } }
        },
      },
    })
    await expect(site.client({ clientId: 'other' })).rejects.toThrow(BAD_CREDENTIALS)
    const client = await site.client({ clientId: 'INV-009' })
    await client.publishAsync('sites/1/devices/INV-009/telemetry', '{}', { qos: 1 })
  })
})

describe('a device', () => {
  test('that publishes on the topic of another is closed, and that is counted', async () => {
    const site = await startSite({ insecure: false })
    const login = site.login(device('INV-001'))
    for (const retain of [false, true]) {
      const client = await site.client(login)
      client.publish('sites/1/devices/INV-002/telemetry', '{}', { qos: 1, retain })
      await until(() => !client.connected)
    }
    expect(site.broker.stats().refused['other-device']).toBe(2)
    expect(site.log.of('sites/1/devices/INV-002/telemetry')).toEqual([])
  })

  test('hears its own commands; other subscriptions are refused with 0x80', async () => {
    const site = await startSite({ insecure: false })
    const client = await site.client(site.login(device('INV-001')))
    const granted = await client.subscribeAsync('sites/1/devices/INV-001/commands', { qos: 2 })
    expect(granted[0]?.qos).toBe(2)
    const refused = client.subscribeAsync('sites/1/devices/INV-002/commands')
    await expect(refused).rejects.toThrow()
    expect(client.connected).toBe(true)
    expect(site.broker.stats().refused['subscribe-denied']).toBe(1)
  })

  test('may not leave a will in the name of another', async () => {
    const site = await startSite({ insecure: false })
    const login = site.login(device('INV-001'))
    const will = {
      topic: 'sites/1/devices/INV-002/status',
      payload: '{"status":"OFFLINE"}',
      qos: 1,
      retain: false,
    } as const
    await expect(site.client({ ...login, will: { ...will, payload: Buffer.from(will.payload) } })).rejects.toThrow(
      NOT_AUTHORIZED,
    )
    expect(site.broker.stats().refused['will-denied']).toBe(1)
  })
})

test('an observer sees every device and publishes nothing', async () => {
  const site = await startSite({ insecure: false })
  const observer = await site.client(site.login({ role: 'observer', username: 'scada' }))
  const seen: string[] = []
  observer.on('message', (topic) => seen.push(topic))
  await observer.subscribeAsync('sites/+/devices/+/#')
  await expect(observer.subscribeAsync('#')).rejects.toThrow()
  const client = await site.client(site.login(device('INV-001')))
  await client.publishAsync('sites/1/devices/INV-001/telemetry', '{}', { qos: 1 })
  await until(() => seen.length === 1)
  observer.publish('sites/1/devices/INV-001/telemetry', '{}')
  await until(() => !observer.connected)
  expect(site.broker.stats().refused['publish-denied']).toBe(1)
})

describe('a client id', () => {
  test('is taken over by the same login, not by another', async () => {
    const site = await startSite({ insecure: false })
    const mine = site.login(device('INV-001'))
    const other = site.login(device('INV-002'))
    const first = await site.client({ ...mine, clientId: 'shared' })
    await expect(site.client({ ...other, clientId: 'shared' })).rejects.toThrow(IDENTIFIER_REJECTED)
    expect(first.connected).toBe(true)
    const second = await site.client({ ...mine, clientId: 'shared' })
    await until(() => !first.connected)
    expect(second.connected).toBe(true)
    expect(site.broker.stats().refused['client-id-taken']).toBe(1)
    await second.endAsync()
    await until(() => site.broker.stats().connections === 0)
    await site.client({ ...other, clientId: 'shared' })
  })

  test('with a durable session stays with its login while that is away', async () => {
    const site = await startSite({ insecure: false })
    const mine = site.login({ role: 'observer', username: 'scada' })
    const other = site.login({ role: 'observer', username: 'display' })
    const first = await site.client({ ...mine, clientId: 'shared', clean: false })
    await first.endAsync()
    await until(() => site.broker.stats().connections === 0)
    await expect(site.client({ ...other, clientId: 'shared', clean: true })).rejects.toThrow(IDENTIFIER_REJECTED)
    const again = await site.client({ ...mine, clientId: 'shared', clean: true })
    await again.endAsync()
    await until(() => site.broker.stats().connections === 0)
    await site.client({ ...other, clientId: 'shared' })
  })
})

test('clients without a login are never offered beyond this machine', async () => {
  const dir = await tempDir()
  const broker = new Broker({
    listeners: { tcp: { host: '127.0.0.1', port: 0 }, websocket: { host: '0.0.0.0', port: 0 } },
    insecure: true,
    spool: new MemoryLog(),
    credentials: { file: join(dir, 'credentials.json') },
    certificates: { authorityDir: join(dir, 'authority'), otherAuthorities: '', required: false },
    sessions: { dir },
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  await expect(broker.start()).rejects.toThrow(expect.objectContaining({ code: 'INSECURE_LISTENER' }))
})

test('a thousand devices log in at once within seconds', async () => {
  const count = 1000
  const site = await startSite({ insecure: false })
  const logins = Array.from({ length: 20 }, (_, i) => site.login(device(`INV-${i}`)))
  const clients = await Promise.all(Array.from({ length: count }, () => rawClient(site.port)))
  const since = performance.now()
  for (const [i, client] of clients.entries()) {
    const login = logins[i % logins.length]
    const will = { topic: `sites/1/devices/${login?.username}/status`, payload: '{"status":"OFFLINE"}', qos: 1 }
    client.send(connectFrame({ clientId: `c${i}`, ...login, will }))
    client.send(publishFrame(`sites/1/devices/${login?.username}/telemetry`, '{}'))
  }
  await until(() => clients.every(({ received }) => framesOf(received).length === 2), {
    what: 'CONNACK and PUBACK of all',
  })
  // Generous: it takes a fraction of a second on two idle cores.
  expect(performance.now() - since).toBeLessThan(10_000)
  expect(site.broker.stats()).toMatchObject({ connections: count, logins: count })
})

test('clients that leave between CONNECT and its answer leave nothing behind', async () => {
  const site = await startSite({ insecure: false })
  const login = site.login(device('INV-001'))
  for (let i = 0; i < 100; i++) {
    const raw = await site.socket()
    raw.send(connectFrame({ ...login, clientId: `gone-${i}`, clean: false }))
    raw.socket.resetAndDestroy()
  }
  await until(() => site.broker.stats().connections === 0)
  // The ids are free, so another login may have them, unless a session came to be that has an owner.
  const client = await site.client({ ...login, clientId: 'last' })
  await until(() => site.broker.devices()[0]?.connected === true)
  await client.endAsync()
  await until(() => site.broker.devices()[0]?.connected === false)
})
