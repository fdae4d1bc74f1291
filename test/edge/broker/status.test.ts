import { describe, expect, onTestFinished, test } from 'vitest'
import { until } from '../../support/until.ts'
import { connectFrame, PINGREQ, publishFrame } from './support/frames.ts'
import { MemoryLog } from './support/memory-log.ts'
import { type Site, startSite, stopBroker } from './support/site.ts'

const STATUS = 'sites/1/devices/INV-001/status'
const TELEMETRY = 'sites/1/devices/INV-001/telemetry'
const ONLINE = '{"status":"ONLINE","reason":"device connected"}'

async function siteWithDevice() {
  const site = await startSite({ insecure: false })
  const login = site.login({ role: 'device', siteId: 1, serialNumber: 'INV-001' })
  return { site, login }
}

const statuses = (site: Site) => site.log.of(STATUS)

describe('the status of a device', () => {
  test('is a fact when it connects, and when it says goodbye', async () => {
    const { site, login } = await siteWithDevice()
    const client = await site.client(login)
    await until(() => statuses(site).length === 1)
    await client.endAsync()
    await until(() => statuses(site).length === 2)
    expect(statuses(site)).toEqual([ONLINE, '{"status":"OFFLINE","reason":"device disconnected"}'])
    expect(site.log.records.every(({ lane }) => lane === 'priority')).toBe(true)
    expect(site.broker.devices()).toMatchObject([
      { siteId: 1, serialNumber: 'INV-001', connected: false, status: 'OFFLINE' },
    ])
  })

  test('is OFFLINE when the connection is lost', async () => {
    const { site, login } = await siteWithDevice()
    const client = await site.client(login)
    client.stream.destroy()
    await until(() => statuses(site).length === 2)
    expect(statuses(site)[1]).toBe('{"status":"OFFLINE","reason":"connection lost"}')
  })

  test('is what its will says when the connection is lost', async () => {
    const { site, login } = await siteWithDevice()
    const payload = '{"status":"MAINTENANCE","reason":"unplugged"}'
    const client = await site.client({
      ...login,
      will: { topic: STATUS, payload: Buffer.from(payload), qos: 1, retain: false },
    })
    client.stream.destroy()
    await until(() => statuses(site).length === 2)
    expect(statuses(site)).toEqual([ONLINE, payload])
    expect(site.broker.devices()[0]).toMatchObject({ connected: false, status: 'MAINTENANCE' })
  })

  test('is OFFLINE in the words of the edge when its will says nothing one can read', async () => {
    const { site, login } = await siteWithDevice()
    const client = await site.client({
      ...login,
      will: { topic: STATUS, payload: Buffer.from('gone'), qos: 1, retain: false },
    })
    client.stream.destroy()
    await until(() => statuses(site).length === 3)
    expect(statuses(site)).toContain('gone')
    expect(statuses(site)).toContain('{"status":"OFFLINE","reason":"connection lost"}')
  })

  test('is what it reports itself, stored as it came; nonsense changes nothing', async () => {
    const { site, login } = await siteWithDevice()
    const client = await site.client(login)
    await client.publishAsync(STATUS, '{"status":"ERROR","reason":"E42"}', { qos: 1 })
    await client.publishAsync(STATUS, 'nonsense', { qos: 1 })
    expect(statuses(site)).toEqual([ONLINE, '{"status":"ERROR","reason":"E42"}', 'nonsense'])
    expect(site.broker.devices()[0]?.status).toBe('ERROR')
  })

  test('does not flicker when a device takes over its own connection, or has two', async () => {
    const { site, login } = await siteWithDevice()
    const first = await site.client({ ...login, clientId: 'same' })
    await site.client({ ...login, clientId: 'same' })
    await until(() => !first.connected)
    const third = await site.client({ ...login, clientId: 'another' })
    await third.endAsync()
    await until(() => site.broker.stats().connections === 1)
    expect(statuses(site)).toEqual([ONLINE])
  })

  test('is known of local clients by what they publish, and their leaving says nothing', async () => {
    const site = await startSite()
    const client = await site.client()
    await client.publishAsync(TELEMETRY, '{}', { qos: 1 })
    await client.publishAsync('sites/1/devices/MTR-1/telemetry', '{}', { qos: 1 })
    expect(site.broker.devices()).toMatchObject([
      { serialNumber: 'INV-001', connected: true, status: 'ONLINE' },
      { serialNumber: 'MTR-1', connected: true, status: 'ONLINE' },
    ])
    await client.endAsync()
    await until(() => site.broker.devices().every(({ connected }) => !connected))
    expect(statuses(site)).toEqual([ONLINE])
  })

  test('stays as it is when the edge stops, even with a will', async () => {
    const { site, login } = await siteWithDevice()
    await site.client({
      ...login,
      will: { topic: STATUS, payload: Buffer.from('{"status":"OFFLINE"}'), qos: 1, retain: false },
    })
    await until(() => statuses(site).length === 1)
    await stopBroker(site.broker)
    expect(statuses(site)).toEqual([ONLINE])
  })

  test('counts as unknown again when its fact could not be stored', async () => {
    const { site, login } = await siteWithDevice()
    site.log.failing = true
    const client = await site.client(login)
    await until(() => site.broker.stats().statusFactsLost === 1)
    site.log.failing = false
    await client.endAsync()
    await until(() => site.broker.stats().connections === 0)
    await site.client(login)
    await until(() => statuses(site).length === 1)
    expect(statuses(site)).toEqual([ONLINE])
  })
})

test('the will of an earlier run is published when its client does not come back', async () => {
  const log = new MemoryLog()
  const will = {
    topic: STATUS,
    payload: Buffer.from('{"status":"OFFLINE","reason":"will"}'),
    qos: 1,
    retain: false,
  } as const
  const first = await startSite({ spool: log })
  await first.client({ clientId: 'gone', will })
  await stopBroker(first.broker)
  expect(log.of(STATUS)).toEqual([])
  await startSite({ spool: log, dir: first.dir, limits: { willGraceMs: 200 } })
  await until(() => log.of(STATUS).length === 1)
  expect(log.of(STATUS)).toEqual(['{"status":"OFFLINE","reason":"will"}'])
})

test('the will of a connected client is not published when the wall clock steps forward', async () => {
  const site = await startSite({ limits: { willGraceMs: 200 } })
  const will = { topic: STATUS, payload: Buffer.from('{"status":"OFFLINE"}'), qos: 1, retain: false } as const
  await site.client({ clientId: 'here', will })
  const now = Date.now
  onTestFinished(() => {
    Date.now = now
  })
  // The engine's own clock; each look at it is an hour later than the one before.
  let hours = 0
  Date.now = () => now() + ++hours * 3_600_000
  await new Promise((resolve) => setTimeout(resolve, 700))
  expect(site.log.of(STATUS)).not.toContain('{"status":"OFFLINE"}')
})

describe('keepalive', () => {
  test('a client that only publishes is not cut', async () => {
    const site = await startSite()
    const raw = await site.socket()
    raw.send(connectFrame({ keepalive: 1 }))
    const since = performance.now()
    while (performance.now() - since < 2500) {
      raw.send(publishFrame(TELEMETRY, '{}'))
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    expect(raw.closed).toBe(false)
    expect(site.broker.stats().publishesDirect).toBeGreaterThan(5)
  })

  test('a client that is silent for one and a half times its keepalive is cut [MQTT-3.1.2-24]', async () => {
    const { site, login } = await siteWithDevice()
    const raw = await site.socket()
    raw.send(connectFrame({ keepalive: 1, ...login }))
    await until(() => raw.received.length === 4)
    raw.send(PINGREQ)
    const since = performance.now()
    await until(() => raw.closed)
    expect(performance.now() - since).toBeGreaterThan(1400)
    expect(performance.now() - since).toBeLessThan(4000)
    expect(site.broker.stats().refused['keepalive-timeout']).toBe(1)
    await until(() => statuses(site).length === 2)
    expect(statuses(site)[1]).toBe('{"status":"OFFLINE","reason":"keepalive timeout"}')
  })

  test('a client that the broker does not read is not cut for its silence', async () => {
    const site = await startSite()
    const raw = await site.socket()
    raw.send(connectFrame({ keepalive: 1 }))
    await until(() => raw.received.length === 4)
    site.log.accepting = false
    raw.send(publishFrame(TELEMETRY, '{}', { id: 1 }))
    raw.send(publishFrame(TELEMETRY, '{}', { id: 2 }))
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect(raw.closed).toBe(false)
    site.log.accept(true)
    await until(() => raw.received.length === 12)
  })
})
