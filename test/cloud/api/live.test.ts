import { request } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import type { AnyJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { until } from '../../support/until.ts'

interface Subject {
  readonly deviceId: number
  readonly serialNumber: string
  readonly siteId: number
}
const INV_1: Subject = { deviceId: 1, serialNumber: 'INV-001', siteId: 1 }
const MTR_1: Subject = { deviceId: 2, serialNumber: 'MTR-001', siteId: 1 }
const INV_2: Subject = { deviceId: 3, serialNumber: 'INV-001', siteId: 2 }

let sequence = 1000

function telemetry(
  subject: Subject,
  telemetryData: object = { powerKw: 45.2 },
  headers: Record<string, string> = {},
): BusRecord {
  const timestamp = '2026-01-01T10:00:00.000Z'
  const value = { ...subject, deviceType: 'SOLAR_INVERTER', telemetryData, timestamp, eventType: 'DEVICE_TELEMETRY' }
  return {
    key: subject.serialNumber,
    value: JSON.stringify(value),
    headers: { gateway: 'gw-1', epoch: '00ff', seq: String(sequence++), ...headers },
  }
}

async function publish(core: ApiCore, ...records: BusRecord[]): Promise<void> {
  await core.bus.publish('device-telemetry', records)
}

/** Publishes a record that the client wants, and waits until it has it: whatever was published before has been sent. */
async function settle(core: ApiCore, client: LiveTestClient, subject: Subject): Promise<void> {
  const record = telemetry(subject, { last: sequence })
  await publish(core, record)
  const seq = Number(record.headers?.seq)
  await until(() => client.events.some((event) => event.seq === seq))
}

describe('events', () => {
  test('an event holds the value as published, the gateway, the sequence and whether it is late', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
    const record = telemetry(INV_1, { powerKw: 45.2, note: 'Zähler "7" ☀' }, { backfill: 'true' })
    await publish(core, record)
    await until(() => client.events.length === 1)
    expect(client.events[0]).toEqual({
      type: 'event',
      channel: 'telemetry',
      data: JSON.parse(String(record.value)),
      gateway: 'gw-1',
      seq: Number(record.headers?.seq),
      backfill: true,
    })
  })

  test('each filter selects by what it names, and the order of a device holds', async () => {
    const core = await startApiCore()
    const subscribe = async (filter: object) => {
      const client = await LiveTestClient.connect(core.webSocketUrl)
      await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry', filter }, 'subscribed')
      return client
    }
    const everything = await subscribe({})
    const site = await subscribe({ siteId: 1 })
    const device = await subscribe({ deviceId: 3 })
    const serial = await subscribe({ serialNumber: 'INV-001' })
    for (let i = 0; i < 50; i++) await publish(core, telemetry(INV_1), telemetry(MTR_1), telemetry(INV_2))
    await until(() => everything.events.length === 150 && site.events.length === 100)
    await until(() => device.events.length === 50 && serial.events.length === 100)
    expect(new Set(site.events.map(({ data }) => data.siteId))).toEqual(new Set([1]))
    expect(new Set(device.events.map(({ data }) => data.deviceId))).toEqual(new Set([3]))
    expect(new Set(serial.events.map(({ data }) => data.serialNumber))).toEqual(new Set(['INV-001']))
    const sequences = everything.events.filter(({ data }) => data.deviceId === 1).map(({ seq }) => seq as number)
    expect(sequences).toEqual(sequences.toSorted((a, b) => a - b))
  })

  test('a client that subscribed in several ways gets an event once', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    const filters = [{}, { siteId: 1 }, { siteId: 1 }, { deviceId: 1 }, { serialNumber: 'INV-001' }]
    for (const [i, filter] of filters.entries()) {
      await client.ask({ type: 'subscribe', id: `s${i}`, channel: 'telemetry', filter }, 'subscribed')
    }
    for (let i = 0; i < 20; i++) await publish(core, telemetry(INV_1))
    await settle(core, client, INV_1)
    expect(client.events).toHaveLength(21)
  })

  test('after unsubscribing nothing more comes; other subscriptions of the same filter go on', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    for (const id of ['a', 'b']) {
      await client.ask({ type: 'subscribe', id, channel: 'telemetry', filter: { siteId: 1 } }, 'subscribed')
    }
    await client.ask({ type: 'subscribe', id: 'c', channel: 'telemetry', filter: { siteId: 2 } }, 'subscribed')
    await client.ask({ type: 'unsubscribe', id: 'a' }, 'unsubscribed')
    await publish(core, telemetry(INV_1))
    await until(() => client.events.length === 1)
    await client.ask({ type: 'unsubscribe', id: 'b' }, 'unsubscribed')
    await publish(core, telemetry(INV_1), telemetry(MTR_1))
    await settle(core, client, INV_2)
    expect(client.events).toHaveLength(2)
    expect(core.api.stats().subscriptions).toBe(1)
  })

  test('status changes come on their own channel', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    await client.ask({ type: 'subscribe', id: 'a', channel: 'status', filter: { deviceId: 1 } }, 'subscribed')
    // Members in another order than ours, as another producer may write them.
    const value = {
      eventType: 'DEVICE_STATUS_CHANGE',
      siteId: 1,
      newStatus: 'ONLINE',
      previousStatus: null,
      serialNumber: 'INV-001',
      deviceId: 1,
    }
    await publish(core, telemetry(INV_1))
    await core.bus.publish('device-status', [{ key: 'INV-001', value: JSON.stringify(value) }])
    await until(() => client.events.length === 1)
    expect(client.events).toEqual([{ type: 'event', channel: 'status', data: value }])
  })

  test('values that are not ours spoil nothing and are counted', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
    const spoilt = [
      '',
      'null',
      '[]',
      '{',
      '{"deviceId":1,"serialNumber":"INV-001","siteId":1,"x":}',
      '{"deviceId":"1"}',
    ]
    await publish(core, ...spoilt.map((value) => ({ key: 'INV-001', value })))
    await publish(core, { key: 'INV-001', value: Uint8Array.of(0xff, 0xfe, 0) })
    await settle(core, client, INV_1)
    expect(client.events).toHaveLength(1)
    expect(await core.metrics.metrics()).toContain('busbar_api_values_malformed_total{channel="telemetry"} 7')
  })

  test('the bus is followed only while somebody is subscribed, and once for all', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    await client.ask({ type: 'ping', id: '1' }, 'pong')
    expect(core.api.stats()).toEqual({ clients: 1, subscriptions: 0, following: false })
    await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
    expect(core.api.stats()).toEqual({ clients: 1, subscriptions: 1, following: true })
    client.socket.close()
    await until(() => core.api.stats().clients === 0)
    expect(core.api.stats().subscriptions).toBe(0)
  })

  test('a bus that cannot be followed is told, and asking again helps', async () => {
    let broken = true
    const core = await startApiCore({
      bus: {
        tail: async (options) => {
          if (broken) throw new Error('no broker answers')
          return await core.bus.tail(options)
        },
      },
    })
    const client = await LiveTestClient.connect(core.webSocketUrl)
    const subscribe = { type: 'subscribe', id: 'a', channel: 'telemetry' }
    expect(await client.ask(subscribe, 'error')).toMatchObject({
      code: 'BUS_UNAVAILABLE',
      message: 'no broker answers',
    })
    broken = false
    await client.ask(subscribe, 'subscribed')
    await settle(core, client, INV_1)
  })
})

describe('bad frames', () => {
  test('each is answered with what is wrong and what to do, and the client stays', async () => {
    const core = await startApiCore()
    const client = await LiveTestClient.connect(core.webSocketUrl)
    const subscribe = { type: 'subscribe', id: 'a', channel: 'telemetry' }
    const wrong: [string, string | null][] = [
      ['hello', null],
      ['17', null],
      ['null', null],
      ['[]', null],
      ['{"type":"constructor","id":"x"}', 'x'],
      [JSON.stringify({ ...subscribe, channel: 'chat' }), 'a'],
      [JSON.stringify({ ...subscribe, filter: { siteId: 1, deviceId: 1 } }), 'a'],
      [JSON.stringify({ ...subscribe, filter: { siteId: '1' } }), 'a'],
      [JSON.stringify({ ...subscribe, filter: { serialNumber: 'a/b' } }), 'a'],
      [JSON.stringify({ ...subscribe, filter: { colour: 'red' } }), 'a'],
      [JSON.stringify({ ...subscribe, id: 7 }), null],
      [JSON.stringify({ type: 'subscribe', channel: 'telemetry' }), null],
      [JSON.stringify({ type: 'unsubscribe', id: 'nobody' }), 'nobody'],
    ]
    for (const [frame, id] of wrong) {
      const answer = await client.ask(frame, 'error')
      expect(answer.id, frame).toBe(id)
      expect(answer.hint, frame).toBeTruthy()
    }
    client.socket.send(Buffer.from('{}'), { binary: true })
    await client.ask({ type: 'ping' }, 'pong')
    expect(client.frames.at(-2)).toMatchObject({ code: 'FRAME_INVALID', message: 'the frame is binary' })
  })

  test('a name in use, and more subscriptions than allowed', async () => {
    const core = await startApiCore({ limits: { subscriptionsMax: 2 } })
    const client = await LiveTestClient.connect(core.webSocketUrl)
    await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
    expect(await client.ask({ type: 'subscribe', id: 'a', channel: 'status' }, 'error')).toMatchObject({
      code: 'SUBSCRIPTION_EXISTS',
    })
    await client.ask({ type: 'subscribe', id: 'b', channel: 'telemetry' }, 'subscribed')
    expect(await client.ask({ type: 'subscribe', id: 'c', channel: 'status' }, 'error')).toMatchObject({
      code: 'SUBSCRIPTIONS_MAX',
    })
  })

  test('a frame that is too large is refused by its id; one beyond all measure ends its client, and no other', async () => {
    const core = await startApiCore({ limits: { frameBytesMax: 2000 } })
    const client = await LiveTestClient.connect(core.webSocketUrl)
    const other = await LiveTestClient.connect(core.webSocketUrl)
    const refused = await client.ask({ type: 'ping', id: 'a', more: 'x'.repeat(3000) }, 'error')
    expect(refused).toMatchObject({ id: 'a', code: 'FRAME_TOO_LARGE', hint: expect.any(String) })
    await client.ask({ type: 'ping' }, 'pong')
    client.send('x'.repeat(1024 * 1024 + 1))
    await until(() => client.closeCode !== null)
    await other.ask({ type: 'ping' }, 'pong')
  })
})

describe('who may connect', () => {
  test('pages of other sites may not, our own and allowed ones may', async () => {
    const core = await startApiCore({ allowedOrigins: ['https://console.example'] })
    const opens = async (origin: string) => {
      const client = await LiveTestClient.connect(core.webSocketUrl, { origin })
      return client.closeCode === null
    }
    expect(await opens('https://evil.example')).toBe(false)
    expect(await opens('null')).toBe(false)
    expect(await opens(`${core.url}.evil.example`)).toBe(false)
    expect(await opens(core.url)).toBe(true)
    expect(await opens('https://console.example')).toBe(true)
    expect(core.api.stats().clients).toBe(2)
  })

  test('a refused handshake is answered with a problem document', async () => {
    const core = await startApiCore({ limits: { socketsMax: 1 } })
    const handshake = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }
    expect(await plainGet(core.webSocketUrl, {})).toMatchObject({ status: 426, body: { code: 'UPGRADE_REQUIRED' } })
    const foreign = { ...handshake, origin: 'https://evil.example' }
    expect(await plainGet(core.webSocketUrl, foreign)).toMatchObject({ status: 403, body: { code: 'ORIGIN_REFUSED' } })
    const { 'sec-websocket-key': _, ...keyless } = handshake
    expect(await plainGet(core.webSocketUrl, keyless)).toMatchObject({ status: 426 })
    await LiveTestClient.connect(core.webSocketUrl)
    expect(await plainGet(core.webSocketUrl, handshake)).toMatchObject({ status: 503, body: { code: 'CLIENTS_MAX' } })
  })
})

function plainGet(webSocketUrl: string, headers: Record<string, string>): Promise<{ status: number; body: AnyJson }> {
  return new Promise((resolve, reject) => {
    const ask = request(webSocketUrl.replace('ws:', 'http:'), { headers }, (response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }))
    })
    ask.on('error', reject)
    ask.end()
  })
}
