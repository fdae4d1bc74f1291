import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type WebSocketEvents, WebSocketReader } from '../../../edge/broker/websocket-frames.ts'
import { judgeUpgrade } from '../../../edge/broker/websocket-upgrade.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { until } from '../../support/until.ts'
import { CONNACK_ACCEPTED, connectFrame } from './support/frames.ts'
import { type RawClient, rawClient, type Site, startSite } from './support/site.ts'

const LOOPBACK = { host: '127.0.0.1', port: 0 }
const MASK = Buffer.of(1, 2, 3, 4)

/** A frame as a client sends it, or as none may. */
function clientFrame(first: number, payload: Uint8Array, { masked = true, length = payload.length } = {}): Buffer {
  const bit = masked ? 0x80 : 0
  const head = length < 126 ? Buffer.of(first, bit | length) : length < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10)
  if (length >= 126) {
    head[0] = first
    head[1] = bit | (length < 65_536 ? 126 : 127)
    if (length < 65_536) head.writeUInt16BE(length, 2)
    else head.writeBigUInt64BE(BigInt(length), 2)
  }
  const body = masked ? payload.map((byte, i) => byte ^ (MASK[i & 3] as number)) : payload
  return Buffer.concat([head, masked ? MASK : Buffer.alloc(0), body])
}

function newReader() {
  const seen = { data: Buffer.alloc(0) as Buffer, pings: [] as string[], closed: 0, violations: [] as number[] }
  const events: WebSocketEvents = {
    data: (bytes) => {
      seen.data = Buffer.concat([seen.data, bytes])
    },
    ping: (payload) => void seen.pings.push(payload.toString()),
    closed: () => void seen.closed++,
    violation: (code) => void seen.violations.push(code),
  }
  return { reader: new WebSocketReader(events), seen }
}

describe('frames', () => {
  test('come through whatever they are cut into', () => {
    const seed = randomInt(2 ** 31)
    const random = seededRandom(seed)
    const upTo = (max: number) => Math.floor(random.fraction() * max)
    const { reader, seen } = newReader()
    const sent: Buffer[] = []
    const pings: string[] = []
    const wire: Buffer[] = []
    for (let message = 0; message < 200; message++) {
      const parts = 1 + upTo(3)
      for (let part = 0; part < parts; part++) {
        const payload = Buffer.from(random.bytes(upTo(10) === 0 ? upTo(70_000) : upTo(200)))
        sent.push(payload)
        wire.push(clientFrame((part === parts - 1 ? 0x80 : 0) | (part === 0 ? 2 : 0), payload))
        // Control frames may come between the parts of a message.
        if (upTo(4) === 0) {
          pings.push(`ping ${pings.length}`)
          wire.push(clientFrame(0x89, Buffer.from(pings.at(-1) as string)), clientFrame(0x8a, Buffer.alloc(3)))
        }
      }
    }
    const bytes = Buffer.concat(wire)
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + upTo(upTo(3) === 0 ? 3 : 20_000)
      reader.push(bytes.subarray(at, end))
      at = end
    }
    expect({ seed, same: seen.data.equals(Buffer.concat(sent)) }).toEqual({ seed, same: true })
    expect(seen).toMatchObject({ pings, closed: 0, violations: [] })
  })

  const x = Buffer.from('x')
  test.each([
    ['without a mask', clientFrame(0x82, x, { masked: false }), 1002],
    ['with a reserved bit', clientFrame(0xc2, x), 1002],
    ['of text', clientFrame(0x81, x), 1003],
    ['of an unknown kind', clientFrame(0x83, x), 1002],
    ['of an unknown kind of control', clientFrame(0x8b, x), 1002],
    ['that go on with nothing', clientFrame(0x80, x), 1002],
    ['that begin amid another message', Buffer.concat([clientFrame(0x02, x), clientFrame(0x82, x)]), 1002],
    ['of control in parts', clientFrame(0x09, x), 1002],
    ['of control that are long', clientFrame(0x89, Buffer.alloc(126)), 1002],
    ['of impossible length', clientFrame(0x82, x, { length: 2 ** 60 }), 1002],
  ])('%s end it', (_what, bytes, code) => {
    const { reader, seen } = newReader()
    reader.push(Buffer.concat([bytes, clientFrame(0x82, Buffer.from('after'))]))
    expect(seen.violations).toEqual([code])
    expect(seen.data.includes('after')).toBe(false)
  })

  test('of Close end it, too', () => {
    const { reader, seen } = newReader()
    reader.push(Buffer.concat([clientFrame(0x88, Buffer.of(3, 232)), clientFrame(0x82, x)]))
    expect(seen).toMatchObject({ closed: 1, violations: [] })
    expect(seen.data).toHaveLength(0)
  })
})

describe('a request', () => {
  const head = (changes: Record<string, string | null> = {}, line = 'GET /mqtt HTTP/1.1') => {
    const headers: Record<string, string | null> = {
      Host: 'gateway:8083',
      Upgrade: 'websocket',
      Connection: 'keep-alive, Upgrade',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Protocol': 'mqttv3.1, mqtt',
      ...changes,
    }
    const lines = Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]))
    return [line, ...lines].join('\r\n')
  }

  test.each<[string, string, string]>([
    ['of a tool', head(), 'accept'],
    ['of a page that is allowed', head({ Origin: 'https://SCADA.example.org' }), 'accept'],
    ['of another page', head({ Origin: 'https://evil.example.org' }), '403'],
    ['of a page without a name', head({ Origin: 'null' }), '403'],
    ['of a page with a longer name', head({ Origin: 'https://scada.example.org.evil.org' }), '403'],
    ['of a browser that only looks', head({ Upgrade: null }), '426'],
    ['that posts', head({}, 'POST / HTTP/1.1'), '426'],
    ['without the subprotocol', head({ 'Sec-WebSocket-Protocol': 'graphql-ws' }), '400'],
    ['of another version', head({ 'Sec-WebSocket-Version': '8' }), '400'],
    ['without a key', head({ 'Sec-WebSocket-Key': 'short' }), '400'],
    ['with two origins', `${head({ Origin: 'https://scada.example.org' })}\r\nOrigin: https://evil.example.org`, '403'],
    ['that is no HTTP', 'hello', '400'],
    ['with a header that is none', `${head()}\r\nbroken header`, '400'],
  ])('%s is answered right', (_what, text, answer) => {
    const upgrade = judgeUpgrade(text, ['https://scada.example.org'])
    expect(upgrade.kind === 'accept' ? 'accept' : upgrade.status.slice(0, 3)).toBe(answer)
  })
})

async function knock(site: Site, bytes: string | Uint8Array): Promise<RawClient> {
  const raw = await rawClient(site.broker.addresses().websocket?.port ?? 0)
  raw.send(Buffer.from(bytes as string))
  return raw
}

const REQUEST = [
  'GET / HTTP/1.1',
  'Host: x',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Protocol: mqtt',
].join('\r\n')

describe('the WebSocket port', () => {
  test('speaks to who comes in pieces, or with everything at once', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const raw = await knock(site, '')
    const bytes = Buffer.concat([Buffer.from(`${REQUEST}\r\n\r\n`), clientFrame(0x82, connectFrame())])
    for (const byte of bytes) raw.socket.write(Buffer.of(byte))
    // The accept key of RFC 6455, 1.3.
    await until(() => raw.received.includes(Buffer.concat([Buffer.of(0x82, 4), CONNACK_ACCEPTED])))
    expect(raw.received.toString()).toContain('Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    const whole = await knock(site, bytes)
    await until(() => whole.received.includes(CONNACK_ACCEPTED))
  })

  test('lets no page in that is not named, and says so', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const raw = await knock(site, `${REQUEST}\r\nOrigin: https://evil.example.org\r\n\r\n`)
    await until(() => raw.closed)
    expect(raw.received.toString()).toMatch(/^HTTP\/1.1 403 /)
    expect(site.broker.stats().refused['origin-denied']).toBe(1)
  })

  test('cuts who sends nothing, or a request without end', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK }, limits: { connectTimeoutMs: 100 } })
    const silent = await knock(site, '')
    const endless = await knock(site, `GET / HTTP/1.1\r\nX: ${'x'.repeat(9000)}`)
    const slow = await knock(site, 'GET / HTTP/1.1\r\n')
    await until(() => silent.closed && endless.closed && slow.closed)
    expect(endless.received.toString()).toMatch(/^HTTP\/1.1 431 /)
    expect(site.broker.stats().refused).toMatchObject({ 'connect-timeout': 2, 'first-packet-not-connect': 1 })
    await until(() => site.broker.stats().halfOpen === 0)
  })

  test('closes on frames that break the rules', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const raw = await knock(site, Buffer.concat([Buffer.from(`${REQUEST}\r\n\r\n`), Buffer.of(0x82, 1, 1)]))
    await until(() => raw.closed)
    expect(site.broker.stats().refused['malformed-packet']).toBe(1)
    const leaving = await knock(
      site,
      Buffer.concat([Buffer.from(`${REQUEST}\r\n\r\n`), clientFrame(0x88, Buffer.alloc(0))]),
    )
    await until(() => leaving.closed)
    expect(site.broker.stats()).toMatchObject({ connections: 0, halfOpen: 0 })
  })
})
