import { describe, expect, test } from 'vitest'
import type { RefusalReason } from '../../../edge/broker/counters.ts'
import { until } from '../../support/until.ts'
import {
  CONNACK_ACCEPTED,
  connectFrame,
  field,
  frame,
  framesOf,
  PINGREQ,
  publishFrame,
  remainingLength,
  subscribeFrame,
} from './support/frames.ts'
import { type RawClient, type Site, startSite } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const INVALID_UTF8 = Buffer.concat([Buffer.from('sites/1/devices/'), Buffer.of(0xc3, 0x28), Buffer.from('/telemetry')])
const SURROGATE = Buffer.of(0xed, 0xa0, 0x80)
const NUL = 'sites/1/devices/INV-001\0/telemetry'

async function loggedIn(site: Site): Promise<RawClient> {
  const raw = await site.socket()
  raw.send(connectFrame())
  await until(() => raw.received.length >= 4)
  return raw
}

async function closedFor(site: Site, raw: RawClient, reason: RefusalReason): Promise<void> {
  await until(() => raw.closed, { what: `closed for ${reason}`, timeoutMs: 5000 })
  expect(site.broker.stats().refused).toMatchObject({ [reason]: 1 })
}

describe('before the login', () => {
  test.each<[string, Uint8Array, RefusalReason]>([
    ['a packet that is no CONNECT', PINGREQ, 'first-packet-not-connect'],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'first-packet-not-connect'],
    ['a TLS greeting', Buffer.of(0x16, 0x03, 0x01, 0x02, 0x00), 'first-packet-not-connect'],
    ['a CONNECT that declares 200 MB', Buffer.of(0x10, 0x80, 0x88, 0xae, 0x5f), 'frame-too-large'],
    ['a CONNECT of more than 4 KB', connectFrame({ clientId: 'x'.repeat(4096) }), 'frame-too-large'],
    ['an impossible length', Buffer.of(0x10, 0xff, 0xff, 0xff, 0xff, 0x01), 'malformed-length'],
    ['a CONNECT that ends too soon', frame(0x10, field('MQTT'), Buffer.of(4, 2)), 'malformed-packet'],
    ['a client id that is not UTF-8', connectFrame({ clientId: Buffer.of(0xff, 0xfe) }), 'invalid-utf8'],
    ['a client id with a surrogate', connectFrame({ clientId: SURROGATE }), 'invalid-utf8'],
    ['a client id with NUL', connectFrame({ clientId: 'a\0b' }), 'nul-in-string'],
    ['a username with NUL', connectFrame({ username: 'a\0' }), 'nul-in-string'],
    ['a will topic that is not UTF-8', connectFrame({ will: { topic: INVALID_UTF8, payload: '' } }), 'invalid-utf8'],
    ['a will on no topic of a device', connectFrame({ will: { topic: 'x', payload: '' } }), 'will-denied'],
  ])('%s closes the connection', async (_what, bytes, reason) => {
    const site = await startSite()
    const raw = await site.socket()
    raw.send(bytes)
    await closedFor(site, raw, reason)
    expect(site.broker.stats().connections).toBe(0)
  })

  test('a client that says nothing is cut after the connect timeout', async () => {
    const site = await startSite({ limits: { connectTimeoutMs: 50 } })
    const raw = await site.socket()
    await closedFor(site, raw, 'connect-timeout')
  })

  test('a CONNECT that never ends is cut, with no more kept than arrived', async () => {
    const site = await startSite({ limits: { connectTimeoutMs: 100 } })
    const raw = await site.socket()
    raw.send(connectFrame({ clientId: 'x'.repeat(3000) }).subarray(0, 20))
    await closedFor(site, raw, 'connect-timeout')
  })

  test('frames behind a CONNECT wait for the login', async () => {
    const site = await startSite()
    const raw = await site.socket()
    raw.send(Buffer.concat([connectFrame(), publishFrame(TOPIC, '{}', { id: 3 }), PINGREQ]))
    await until(() => framesOf(raw.received).length === 3)
    expect(framesOf(raw.received)[0]).toEqual(CONNACK_ACCEPTED)
  })

  test('one connection more than allowed is closed', async () => {
    const site = await startSite({ limits: { connectionsMax: 1 } })
    await loggedIn(site)
    const raw = await site.socket()
    await closedFor(site, raw, 'too-many-connections')
  })
})

describe('after the login', () => {
  test.each<[string, Uint8Array, RefusalReason]>([
    ['a payload of 10 MB', publishFrame(TOPIC, Buffer.alloc(10_000_000)), 'frame-too-large'],
    ['an impossible length', Buffer.of(0x30, 0x80, 0x80, 0x80, 0x80), 'malformed-length'],
    ['a topic that is not UTF-8', publishFrame(INVALID_UTF8, '{}'), 'invalid-utf8'],
    ['a topic with NUL', publishFrame(NUL, '{}'), 'nul-in-string'],
    ['a filter that is not UTF-8', subscribeFrame(1, INVALID_UTF8), 'invalid-utf8'],
    ['a filter with NUL', subscribeFrame(1, NUL), 'nul-in-string'],
    ['a filter with NUL to unsubscribe', frame(0xa2, Buffer.of(0, 1), field(NUL)), 'nul-in-string'],
    ['a QoS of 3', frame(0x36, field(TOPIC), Buffer.of(0, 1)), 'malformed-packet'],
    ['DUP with QoS 0', frame(0x38, field(TOPIC)), 'malformed-packet'],
    ['packet identifier 0', publishFrame(TOPIC, '{}', { id: 0 }), 'malformed-packet'],
    ['a topic longer than the packet', frame(0x30, Buffer.of(0x10, 0)), 'malformed-packet'],
    ['an empty PUBLISH', Buffer.of(0x30, 0), 'malformed-packet'],
    ['a SUBSCRIBE without filters', frame(0x82, Buffer.of(0, 1)), 'malformed-packet'],
    ['a SUBSCRIBE with a QoS of 3', frame(0x82, Buffer.of(0, 1), field('sites/#'), Buffer.of(3)), 'malformed-packet'],
    ['a SUBSCRIBE with identifier 0', frame(0x82, Buffer.of(0, 0), field('sites/#'), Buffer.of(0)), 'malformed-packet'],
    ['a PUBREL without identifier', frame(0x62), 'malformed-packet'],
    ['a PUBREL with half of one', frame(0x62, Buffer.of(1)), 'malformed-packet'],
    ['a PUBREL without its flags', frame(0x60, Buffer.of(0, 1)), 'malformed-packet'],
    ['a PUBACK with more than its identifier', frame(0x40, Buffer.of(0, 1, 2)), 'malformed-packet'],
    ['a PINGREQ with something in it', frame(0xc0, Buffer.of(1)), 'malformed-packet'],
    ['a second CONNECT', connectFrame(), 'protocol-error'],
    ['a packet only brokers send', Buffer.of(0x20, 2, 0, 0), 'protocol-error'],
    ['a wildcard in a topic', publishFrame('sites/1/devices/+/telemetry', '{}'), 'protocol-error'],
    ['a topic of no device', publishFrame('elsewhere', '{}'), 'publish-denied'],
    ['the topic of the broker', publishFrame('$SYS/x', '{}'), 'publish-denied'],
  ])('%s closes the connection; others notice nothing', async (_what, bytes, reason) => {
    const site = await startSite()
    const healthy = await site.client({ clientId: 'healthy' })
    const raw = await loggedIn(site)
    raw.send(bytes)
    await closedFor(site, raw, reason)
    await healthy.publishAsync('sites/1/devices/OK/telemetry', '{"powerKw":1}', { qos: 1 })
    expect(site.log.of('sites/1/devices/OK/telemetry')).toEqual(['{"powerKw":1}'])
    expect(site.log.of(TOPIC)).toEqual([])
  })

  test('a payload that is too large is known from its header', async () => {
    const site = await startSite()
    const raw = await loggedIn(site)
    raw.send(Buffer.concat([Buffer.of(0x32), remainingLength(10_000_000)]))
    await closedFor(site, raw, 'frame-too-large')
  })
})

test('an unknown protocol version is told so [MQTT-3.1.2-2]', async () => {
  const site = await startSite()
  const raw = await site.socket()
  raw.send(frame(0x10, field('MQTT'), Buffer.of(9, 2, 0, 0), field('x')))
  await until(() => raw.closed)
  expect(raw.received[3] ?? 1).toBe(1)
})

test('an empty client id is for clean sessions only [MQTT-3.1.3-8]', async () => {
  const site = await startSite()
  const clean = await site.socket()
  clean.send(connectFrame({ clientId: '', clean: true }))
  await until(() => clean.received.length === 4)
  expect(clean.received).toEqual(CONNACK_ACCEPTED)
  const durable = await site.socket()
  durable.send(connectFrame({ clientId: '', clean: false }))
  await until(() => durable.closed)
  expect(durable.received).toEqual(Buffer.of(0x20, 2, 0, 2))
  expect(site.broker.stats().refused['client-id-missing']).toBe(1)
})
