import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { until } from '../../support/until.ts'
import { connectFrame, framesOf, publishFrame, pubrelFrame, subscribeFrame } from './support/frames.ts'
import { MemoryLog } from './support/memory-log.ts'
import { type Site, type SiteOptions, startSite, stopBroker } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const FILTER = 'sites/+/devices/+/telemetry'
const durable = { clientId: 'scada', clean: false }

/** Stops the broker and starts another on the same directory. */
async function restart(site: Site, options: SiteOptions = {}): Promise<Site> {
  await stopBroker(site.broker)
  return startSite({ dir: site.dir, ...options })
}

/** Subscribes with a durable session and leaves. */
async function subscribeAndLeave(site: Site, qos: 1 | 2 = 1): Promise<void> {
  const observer = await site.client(durable)
  await observer.subscribeAsync(FILTER, { qos })
  await observer.endAsync()
  await until(() => site.broker.stats().connections === 0)
}

/** Payloads that `client` receives from now on. */
function payloadsOf(client: MqttClient): string[] {
  const payloads: string[] = []
  client.on('message', (_topic, payload) => payloads.push(payload.toString()))
  return payloads
}

/** Connects the durable session again; listens before anything can arrive. */
async function comeBack(site: Site): Promise<{ client: MqttClient; payloads: string[]; sessionPresent: boolean }> {
  const { connect } = await import('mqtt')
  const client = connect(`mqtt://127.0.0.1:${site.port}`, { ...durable, reconnectPeriod: 0 })
  const payloads = payloadsOf(client)
  const sessionPresent = await new Promise<boolean>((resolve, reject) => {
    client.once('connect', (packet) => resolve(packet.sessionPresent))
    client.once('error', reject)
  })
  return { client, payloads, sessionPresent }
}

describe.each([1, 2] as const)('a durable session with QoS %i', (qos) => {
  test('gets what was published while it was away, in order, across a restart of the broker', async () => {
    let site = await startSite()
    await subscribeAndLeave(site, qos)
    const device = await site.client()
    for (let i = 0; i < 20; i++) await device.publishAsync(TOPIC, `before ${i}`, { qos })
    site = await restart(site)
    const again = await site.client()
    for (let i = 0; i < 20; i++) await again.publishAsync(TOPIC, `after ${i}`, { qos })
    // An acknowledgement speaks of the spool; queues of absent sessions follow it.
    await until(() => site.broker.stats().queuedMessages === 40)
    const { client, payloads, sessionPresent } = await comeBack(site)
    expect(sessionPresent).toBe(true)
    await until(() => payloads.length === 40)
    const numbers = Array.from({ length: 20 }, (_, i) => i)
    expect(payloads).toEqual([...numbers.map((i) => `before ${i}`), ...numbers.map((i) => `after ${i}`)])
    await until(() => site.broker.stats().queuedMessages === 0)
    await client.endAsync()
    // What was delivered stays delivered.
    site = await restart(site)
    const third = await comeBack(site)
    await again.endAsync()
    const device2 = await site.client()
    await device2.publishAsync(TOPIC, 'live', { qos })
    await until(() => third.payloads.length === 1)
    expect(third.payloads).toEqual(['live'])
    await third.client.endAsync()
  })
})

describe('a durable session', () => {
  test('is found again without any subscription [MQTT-3.2.2-2]', async () => {
    const site = await startSite()
    const first = await comeBack(site)
    expect(first.sessionPresent).toBe(false)
    await first.client.endAsync()
    const second = await comeBack(site)
    expect(second.sessionPresent).toBe(true)
    await second.client.endAsync()
  })

  test('ends with a clean one under its name', async () => {
    const site = await startSite()
    await subscribeAndLeave(site)
    const device = await site.client()
    await device.publishAsync(TOPIC, 'unwanted', { qos: 1 })
    const clean = await site.client({ ...durable, clean: true })
    await clean.endAsync()
    expect(site.broker.stats()).toMatchObject({ sessions: 0, queuedMessages: 0 })
    const { client, payloads, sessionPresent } = await comeBack(site)
    expect(sessionPresent).toBe(false)
    expect(payloads).toEqual([])
    await client.endAsync()
  })

  test('keeps the newest messages when more are waiting than allowed, and the rest are counted', async () => {
    const site = await startSite({ limits: { sessionQueueMax: 5 } })
    await subscribeAndLeave(site)
    const device = await site.client()
    for (let i = 0; i < 8; i++) await device.publishAsync(TOPIC, `${i}`, { qos: 1 })
    await until(() => site.broker.stats().droppedDeliveries['session-queue-full'] === 3)
    const { client, payloads } = await comeBack(site)
    await until(() => payloads.length === 5)
    expect(payloads).toEqual(['3', '4', '5', '6', '7'])
    await client.endAsync()
  })

  test('makes room for a new one when there are too many: the one that is away for longest goes', async () => {
    const site = await startSite({ limits: { sessionsMax: 2 } })
    for (const clientId of ['one', 'two', 'three']) {
      const client = await site.client({ clientId, clean: false })
      await client.subscribeAsync(FILTER, { qos: 1 })
      await client.endAsync()
      await until(() => site.broker.stats().connections === 0)
    }
    expect(site.broker.stats()).toMatchObject({ sessions: 2, droppedDeliveries: { 'session-evicted': 1 } })
    const device = await site.client()
    await device.publishAsync(TOPIC, '{}', { qos: 1 })
    await until(() => site.broker.stats().queuedMessages === 2)
  })

  test('does not store a filter that was refused beside one that was granted', async () => {
    const site = await startSite({ insecure: false })
    const login = site.login({ role: 'device', siteId: 1, serialNumber: 'INV-001' })
    const raw = await site.socket()
    raw.send(connectFrame({ ...login, clean: false }))
    const commands = subscribeFrame(7, 'sites/1/devices/INV-001/commands', 1).subarray(4)
    const others = subscribeFrame(7, FILTER, 1).subarray(4)
    raw.send(Buffer.concat([Buffer.of(0x82, 2 + commands.length + others.length, 0, 7), commands, others]))
    await until(() => framesOf(raw.received).length === 2)
    expect(framesOf(raw.received)[1]).toEqual(Buffer.of(0x90, 4, 0, 7, 1, 0x80))
    raw.socket.end()
    await until(() => site.broker.stats().connections === 0)
    const other = await site.client(site.login({ role: 'device', siteId: 1, serialNumber: 'INV-002' }))
    await other.publishAsync('sites/1/devices/INV-002/telemetry', '{}', { qos: 1 })
    expect(site.broker.stats().queuedMessages).toBe(0)
  })

  test('says DUP when it delivers again what was not acknowledged [MQTT-3.3.1-1]', async () => {
    let site = await startSite()
    const raw = await site.socket()
    raw.send(connectFrame({ ...durable }))
    raw.send(subscribeFrame(1, FILTER, 1))
    await until(() => framesOf(raw.received).length === 2)
    const device = await site.client()
    await device.publishAsync(TOPIC, 'once more', { qos: 1 })
    await until(() => framesOf(raw.received).length === 3)
    expect((framesOf(raw.received)[2]?.[0] ?? 0) & 0x08).toBe(0)
    raw.socket.destroy()
    site = await restart(site)
    const again = await site.socket()
    again.send(connectFrame({ ...durable }))
    await until(() => framesOf(again.received).length === 2)
    expect(framesOf(again.received)[0]).toEqual(Buffer.of(0x20, 2, 1, 0))
    expect((framesOf(again.received)[1]?.[0] ?? 0) & 0x08).toBe(0x08)
  })
})

test('retained messages survive a restart, up to their limit', async () => {
  let site = await startSite({ limits: { retainedMax: 2 } })
  const device = await site.client()
  for (const serial of ['A', 'B', 'C']) {
    await device.publishAsync(`sites/1/devices/${serial}/telemetry`, serial, { qos: 1, retain: true })
  }
  await device.publishAsync('sites/1/devices/A/telemetry', 'newer', { qos: 1, retain: true })
  expect(site.broker.stats()).toMatchObject({ retainedMessages: 2, droppedDeliveries: { 'retained-full': 1 } })
  site = await restart(site)
  const observer = await site.client()
  const payloads = payloadsOf(observer)
  await observer.subscribeAsync(FILTER)
  await until(() => payloads.length === 2)
  expect(payloads.sort()).toEqual(['B', 'newer'])
})

test('a QoS 2 message between PUBLISH and PUBREL is stored once, across a restart', async () => {
  const log = new MemoryLog()
  let site = await startSite({ spool: log })
  const raw = await site.socket()
  raw.send(connectFrame({ clientId: 'device', clean: false }))
  raw.send(publishFrame(TOPIC, 'exactly once', { qos: 2, id: 77 }))
  await until(() => framesOf(raw.received).length === 2)
  raw.socket.destroy()
  site = await restart(site, { spool: log })
  const again = await site.socket()
  again.send(connectFrame({ clientId: 'device', clean: false }))
  again.send(publishFrame(TOPIC, 'exactly once', { qos: 2, id: 77, dup: true }))
  await until(() => framesOf(again.received).length === 2)
  expect(framesOf(again.received)[1]).toEqual(Buffer.of(0x50, 2, 0, 77))
  again.send(pubrelFrame(77))
  await until(() => framesOf(again.received).length === 3)
  expect(log.of(TOPIC)).toEqual(['exactly once'])
})

test('a delivery of QoS 2 continues at PUBREL after a restart', async () => {
  let site = await startSite()
  const raw = await site.socket()
  raw.send(connectFrame({ ...durable }))
  raw.send(subscribeFrame(1, FILTER, 2))
  await until(() => framesOf(raw.received).length === 2)
  const device = await site.client()
  await device.publishAsync(TOPIC, 'twice nothing', { qos: 2 })
  await until(() => framesOf(raw.received).length === 3)
  const publish = framesOf(raw.received)[2] ?? Buffer.alloc(0)
  const at = 2 + 2 + TOPIC.length
  const id = publish.readUInt16BE(at)
  raw.send([0x50, 2, id >> 8, id & 0xff])
  await until(() => framesOf(raw.received).length === 4)
  expect(framesOf(raw.received)[3]).toEqual(Buffer.of(0x62, 2, id >> 8, id & 0xff))
  raw.socket.destroy()
  site = await restart(site)
  const again = await site.socket()
  again.send(connectFrame({ ...durable }))
  await until(() => framesOf(again.received).length === 2)
  expect(framesOf(again.received)[1]).toEqual(Buffer.of(0x62, 2, id >> 8, id & 0xff))
  again.send([0x70, 2, id >> 8, id & 0xff])
  await until(() => site.broker.stats().queuedMessages === 0)
})

test('a damaged file of sessions is set aside, and the broker starts', async () => {
  let site = await startSite()
  await subscribeAndLeave(site)
  await stopBroker(site.broker)
  await writeFile(join(site.dir, 'sessions.db'), 'this is no database, whatever its name says'.repeat(100))
  site = await startSite({ dir: site.dir })
  expect(site.broker.stats()).toMatchObject({ sessions: 0, sessionsFailing: null })
  await subscribeAndLeave(site)
  expect(site.broker.stats().sessions).toBe(1)
})

test('a SUBSCRIBE with many topics writes each of them once, and all survive a restart', async () => {
  const topics = Array.from({ length: 100 }, (_, i) => `sites/1/devices/MTR-${i}/telemetry`)
  let site = await startSite({ limits: { sessionChangesMax: 200 } })
  const observer = await site.client(durable)
  await observer.subscribeAsync(topics, { qos: 1 })
  expect(site.broker.stats().sessionsFailing).toBeNull()
  await observer.endAsync()
  site = await restart(site)
  const device = await site.client()
  for (const topic of topics) await device.publishAsync(topic, '{}', { qos: 1 })
  await until(() => site.broker.stats().queuedMessages === topics.length)
})
