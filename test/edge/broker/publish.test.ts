import { describe, expect, test } from 'vitest'
import { until } from '../../support/until.ts'
import { connectFrame, DISCONNECT, framesOf, PINGREQ, pubackIds, publishFrame, pubrelFrame } from './support/frames.ts'
import { MemoryLog } from './support/memory-log.ts'
import { type RawClient, type Site, startSite } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const READING = '{"powerKw": 45.2}'

/** A raw client that is logged in; what it received until then is forgotten. */
async function loggedIn(site: Site, clientId = 'raw'): Promise<RawClient> {
  const raw = await site.socket()
  raw.send(connectFrame({ clientId }))
  await until(() => raw.received.length >= 4, { what: 'CONNACK' })
  raw.received = Buffer.alloc(0)
  return raw
}

const acknowledged = (raw: RawClient) => pubackIds(raw.received)

/** Gives a wrong acknowledgement time to arrive. */
const aMoment = () => new Promise((resolve) => setTimeout(resolve, 50))

describe('an acknowledgement', () => {
  test('is not sent before the reading is on disk, whether or not someone watches', async () => {
    const site = await startSite()
    site.log.held = true
    const raw = await loggedIn(site)
    raw.send(publishFrame(TOPIC, READING, { id: 1 }))
    await until(() => site.log.waitingCount >= 1)
    await aMoment()
    expect(acknowledged(raw)).toEqual([])
    site.log.release()
    await until(() => acknowledged(raw).length === 1)
    expect(site.log.of(TOPIC)).toEqual([READING])
    expect(site.broker.stats().publishesDirect).toBe(1)

    const observer = await site.client({ clientId: 'observer' })
    await observer.subscribeAsync('sites/+/devices/+/telemetry')
    const seen: string[] = []
    observer.on('message', (_topic, payload) => seen.push(payload.toString()))
    site.log.held = true
    raw.send(publishFrame(TOPIC, '{"powerKw": 46}', { id: 2 }))
    await until(() => site.log.waitingCount >= 1)
    await aMoment()
    expect(acknowledged(raw)).toEqual([1])
    expect(seen).toEqual([])
    site.log.release()
    await until(() => acknowledged(raw).length === 2 && seen.length === 1)
    expect(site.broker.stats().publishesDirect).toBe(1)
  })

  test('keeps the order of the messages, watched or not, retained or not', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    const frames: Buffer[] = []
    for (let id = 1; id <= 300; id++) {
      // Every few messages one that takes the other way in.
      if (id % 7 === 0) frames.push(publishFrame('sites/1/devices/INV-001/responses', `${id}`, { id }))
      else frames.push(publishFrame(TOPIC, `${id}`, { id, retain: id % 11 === 0 }))
    }
    const all = Buffer.concat(frames)
    for (let at = 0; at < all.length; at += 1000) {
      raw.send(all.subarray(at, at + 1000))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => acknowledged(raw).length === 300)
    const ascending = Array.from({ length: 300 }, (_, i) => i + 1)
    expect(acknowledged(raw)).toEqual(ascending)
    expect(
      site.log.records.filter(({ topic }) => !topic.endsWith('status')).map(({ payload }) => Number(payload)),
    ).toEqual(ascending)
    const { publishesDirect } = site.broker.stats()
    expect(publishesDirect).toBeGreaterThan(0)
    expect(publishesDirect).toBeLessThan(300)
  })

  test('is not sent when the disk refuses: the connection closes, so that the device sends again', async () => {
    const site = await startSite()
    const direct = await loggedIn(site, 'direct')
    const engine = await loggedIn(site, 'engine')
    site.log.failing = true
    direct.send(publishFrame(TOPIC, READING))
    engine.send(publishFrame(TOPIC, READING, { retain: true }))
    await until(() => direct.closed && engine.closed)
    expect(acknowledged(direct)).toEqual([])
    expect(acknowledged(engine)).toEqual([])
    expect(site.broker.stats().refused['spool-failed']).toBe(2)
    site.log.failing = false
    const again = await loggedIn(site)
    again.send(publishFrame(TOPIC, READING, { dup: true }))
    await until(() => acknowledged(again).length === 1)
    expect(site.log.of(TOPIC)).toEqual([READING])
  })

  test('still comes when DISCONNECT follows at once', async () => {
    const site = await startSite()
    site.log.held = true
    const raw = await loggedIn(site)
    raw.send(Buffer.concat([publishFrame(TOPIC, READING, { id: 9 }), DISCONNECT]))
    await until(() => site.log.waitingCount >= 1)
    site.log.release()
    await until(() => raw.closed)
    expect(acknowledged(raw)).toEqual([9])
  })
})

describe('a batch', () => {
  test('becomes one record per reading, acknowledged once, after the last', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    site.log.held = true
    raw.send(publishFrame(TOPIC, ' [{"a":1}, {"a":2},{"a":3}]', { id: 5 }))
    raw.send(publishFrame(TOPIC, '[{"a":4}]', { id: 6, retain: true }))
    await until(() => site.log.waitingCount >= 4)
    expect(acknowledged(raw)).toEqual([])
    site.log.release()
    await until(() => acknowledged(raw).length === 2)
    expect(acknowledged(raw)).toEqual([5, 6])
    expect(site.log.of(TOPIC)).toEqual(['{"a":1}', '{"a":2}', '{"a":3}', '{"a":4}'])
  })

  test('that cannot be read or is too long is stored as it is', async () => {
    const site = await startSite({ limits: { batchReadingsMax: 2 } })
    const raw = await loggedIn(site)
    raw.send(publishFrame(TOPIC, '[1,2,3]', { id: 1 }))
    raw.send(publishFrame(TOPIC, '[1,', { id: 2 }))
    raw.send(publishFrame(TOPIC, 'not JSON', { id: 3 }))
    raw.send(publishFrame(TOPIC, '', { id: 4 }))
    await until(() => acknowledged(raw).length === 4)
    expect(site.log.of(TOPIC)).toEqual(['[1,2,3]', '[1,', 'not JSON', ''])
  })
})

describe('QoS', () => {
  test('0 is stored without an answer', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    raw.send(publishFrame(TOPIC, READING, { qos: 0 }))
    await until(() => site.log.of(TOPIC).length === 1)
    expect(raw.received).toHaveLength(0)
  })

  test('2 is stored once however often the client sends it, and PUBREC waits for the disk', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    site.log.held = true
    raw.send(publishFrame(TOPIC, READING, { qos: 2, id: 8 }))
    raw.send(publishFrame(TOPIC, READING, { qos: 2, id: 8, dup: true }))
    await until(() => site.log.waitingCount >= 1)
    await aMoment()
    expect(raw.received).toHaveLength(0)
    site.log.release()
    await until(() => framesOf(raw.received).length === 2)
    expect(framesOf(raw.received).every((frame) => frame[0] === 0x50)).toBe(true)
    raw.send(publishFrame(TOPIC, READING, { qos: 2, id: 8, dup: true }))
    await until(() => framesOf(raw.received).length === 3)
    raw.send(pubrelFrame(8))
    await until(() => framesOf(raw.received).length === 4)
    expect(framesOf(raw.received)[3]).toEqual(Buffer.of(0x70, 2, 0, 8))
    expect(site.log.of(TOPIC)).toEqual([READING])
    // The identifier is free again: the next message under it is another one.
    raw.send(publishFrame(TOPIC, READING, { qos: 2, id: 8 }))
    await until(() => site.log.of(TOPIC).length === 2)
  })
})

test('status and responses go to the priority lane, telemetry does not', async () => {
  const site = await startSite()
  const client = await site.client()
  await client.publishAsync('sites/1/devices/A/telemetry', '{}', { qos: 1 })
  await client.publishAsync('sites/1/devices/A/status', '{"status":"ERROR"}', { qos: 1 })
  await client.publishAsync('sites/1/devices/A/responses', '{"commandId":"x"}', { qos: 1 })
  const lanes = site.log.records.map(({ lane, topic }) => `${lane} ${topic}`)
  expect(lanes).toContain('telemetry sites/1/devices/A/telemetry')
  expect(lanes).toContain('priority sites/1/devices/A/status')
  expect(lanes).toContain('priority sites/1/devices/A/responses')
  expect(site.broker.stats().publishes).toEqual({ telemetry: 1, status: 1, responses: 1 })
})

test('a retained reading is stored and kept for observers; removing it stores nothing', async () => {
  const site = await startSite()
  const client = await site.client({ clientId: 'device' })
  await client.publishAsync(TOPIC, READING, { qos: 1, retain: true })
  const observer = await site.client({ clientId: 'observer' })
  const seen: { payload: string; retain: boolean }[] = []
  observer.on('message', (_topic, payload, packet) => seen.push({ payload: payload.toString(), retain: packet.retain }))
  await observer.subscribeAsync('sites/+/devices/+/telemetry')
  await until(() => seen.length === 1)
  expect(seen).toEqual([{ payload: READING, retain: true }])
  await client.publishAsync(TOPIC, '', { qos: 1, retain: true })
  expect(site.log.of(TOPIC)).toEqual([READING])
  expect(site.broker.stats().retainedMessages).toBe(0)
})

test('while the spool takes no more, sockets are not read, and nothing is lost', async () => {
  const site = await startSite()
  const raw = await loggedIn(site)
  site.log.accepting = false
  for (let id = 1; id <= 2000; id++) raw.send(publishFrame(TOPIC, `{"n":${id},"pad":"${'x'.repeat(500)}"}`, { id }))
  await aMoment()
  // One message may have been taken when the spool said stop.
  expect(site.log.of(TOPIC).length).toBeLessThanOrEqual(1)
  // Those who do not publish are served meanwhile.
  const other = await loggedIn(site, 'other')
  other.send(PINGREQ)
  other.send(PINGREQ)
  await until(() => framesOf(other.received).length === 2)
  site.log.accept(true)
  await until(() => acknowledged(raw).length === 2000)
  expect(site.log.of(TOPIC)).toHaveLength(2000)
})

test('a reading of 256 KiB is stored', async () => {
  const log = new MemoryLog()
  const site = await startSite({ spool: log })
  const client = await site.client()
  const payload = JSON.stringify({ note: 'x'.repeat(256 * 1024 - 11) })
  expect(payload).toHaveLength(256 * 1024)
  await client.publishAsync(TOPIC, payload, { qos: 1 })
  expect(log.of(TOPIC)).toEqual([payload])
})

test('a QoS 2 message of a clean session is not taken for one of the connection before', async () => {
  const log = new MemoryLog()
  const site = await startSite({ spool: log })
  log.held = true
  const send = async (payload: string) => {
    const raw = await site.socket()
    raw.send(connectFrame({ clientId: 'clean', clean: true }))
    raw.send(publishFrame('sites/1/devices/INV-001/telemetry', payload, { qos: 2, id: 1 }))
    return raw
  }
  const first = await send('first')
  await until(() => site.broker.stats().publishes.telemetry === 1)
  first.socket.destroy()
  await until(() => site.broker.stats().connections === 0)
  const second = await send('second')
  await until(() => site.broker.stats().publishes.telemetry === 2)
  log.release()
  await until(() => framesOf(second.received).length === 2)
  expect(framesOf(second.received)[1]).toEqual(Buffer.of(0x50, 2, 0, 1))
  expect(log.of('sites/1/devices/INV-001/telemetry')).toEqual(['first', 'second'])
})
