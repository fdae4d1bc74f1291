import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Broker } from '../../../edge/broker/broker.ts'
import { warnOfReach } from '../../../edge/broker/listeners.ts'
import { systemClock } from '../../../shared/clock.ts'
import { type Logger, silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { MemoryLog } from './support/memory-log.ts'
import { mqttClient, startSite, stopBroker } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const LOOPBACK = { host: '127.0.0.1', port: 0 }
let certificates: string
let tls: { cert: string; key: string }
const ANYWHERE = { host: '0.0.0.0', port: 1883 }
/** A certificate that never changes. */
const fixed = (pair: typeof tls) => ({ load: async () => pair, changed: async () => null })

beforeAll(() => {
  certificates = mkdtempSync(join(tmpdir(), 'busbar-'))
  const [key, cert] = [join(certificates, 'key.pem'), join(certificates, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', ...subject], {
    stdio: 'ignore',
  })
  tls = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
})

afterAll(() => rmSync(certificates, { recursive: true }))

describe.each(['tcp', 'tls', 'websocket', 'websocket with tls'] as const)('over %s', (way) => {
  async function start() {
    const listeners = {
      tcp: { tcp: LOOPBACK },
      tls: { tls: LOOPBACK, certificate: fixed(tls) },
      websocket: { websocket: LOOPBACK },
      'websocket with tls': { websocket: { ...LOOPBACK, tls: true }, certificate: fixed(tls) },
    }[way]
    const site = await startSite({ listeners })
    const kind = way === 'websocket with tls' ? 'websocket' : way
    const scheme = { tcp: 'mqtt', tls: 'mqtts', websocket: 'ws', 'websocket with tls': 'wss' }[way]
    const url = `${scheme}://localhost:${site.broker.addresses()[kind]?.port}`
    const wsOptions = { ca: tls.cert }
    return { site, kind, connect: () => mqttClient(url, { ca: tls.cert, wsOptions } as object) } as const
  }

  test('a device publishes and an observer sees it', async () => {
    const { site, kind, connect } = await start()
    const device = await connect()
    const observer = await connect()
    expect(site.broker.stats()).toMatchObject({ connections: 2, connectionsByListener: { [kind]: 2 } })
    await device.publishAsync(TOPIC, '{"powerKw":1}', { qos: 1 })
    const seen: string[] = []
    observer.on('message', (_topic, payload) => seen.push(payload.toString()))
    await observer.subscribeAsync('sites/#', { qos: 2 })
    for (const qos of [0, 1, 2] as const) await device.publishAsync(TOPIC, `{"powerKw":${qos}}`, { qos })
    const large = JSON.stringify({ note: 'x'.repeat(200_000) })
    await device.publishAsync(TOPIC, large, { qos: 1 })
    await until(() => seen.length === 4)
    expect(seen.at(-1)).toBe(large)
    expect(site.log.of(TOPIC)).toHaveLength(5)
    await device.endAsync()
    await observer.endAsync()
    await until(() => site.broker.stats().connections === 0)
  })

  test('a payload of 10 MB is cut', async () => {
    const { site, connect } = await start()
    const device = await connect()
    device.publish(TOPIC, Buffer.alloc(10_000_000), { qos: 1 })
    await until(() => !device.connected)
    expect(site.broker.stats().refused['frame-too-large']).toBe(1)
    expect(site.log.of(TOPIC)).toEqual([])
  })

  test('the broker stops with clients connected', async () => {
    const { site, connect } = await start()
    const device = await connect()
    await device.publishAsync(TOPIC, '{}', { qos: 1 })
    const since = performance.now()
    await stopBroker(site.broker)
    expect(performance.now() - since).toBeLessThan(3000)
    await until(() => !device.connected)
  })
})

test.each([
  ['TLS below 1.2', { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }],
  ['a cipher without authenticated encryption', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }],
] as const)('%s is refused', async (_what, client) => {
  const site = await startSite({ listeners: { tls: LOOPBACK, certificate: fixed(tls) } })
  const port = site.broker.addresses().tls?.port ?? 0
  const outcome = await new Promise<string>((resolve) => {
    const socket = tlsConnect({ port, host: '127.0.0.1', ca: tls.cert, ...client }, () => resolve('connected'))
    socket.on('error', () => resolve('refused'))
    socket.on('close', () => resolve('refused'))
  })
  expect(outcome).toBe('refused')
})

test.each([
  ['in the clear for all', { tcp: ANYWHERE }, false, /can be heard/],
  ['in the clear for all, by WebSocket', { tls: ANYWHERE, websocket: ANYWHERE }, false, /can be heard/],
  ['to this machine alone', { tcp: LOOPBACK, websocket: LOOPBACK }, false, /only this machine/],
  ['to this machine alone, on a workbench', { tcp: LOOPBACK }, true, null],
  ['with TLS for others', { tcp: LOOPBACK, tls: ANYWHERE, websocket: { ...ANYWHERE, tls: true } }, false, null],
])('a broker that listens %s says so where it may not be meant', (_how, listeners, insecure, said) => {
  const warnings: string[] = []
  const warn = (...words: unknown[]) => void warnings.push(String(words.at(-1)))
  warnOfReach(listeners, insecure, { warn } as unknown as Logger)
  expect(warnings).toEqual(said === null ? [] : [expect.stringMatching(said)])
})

describe('a WebSocket', () => {
  test('that does not offer mqtt is refused [MQTT-6.0.0-3]', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const url = `ws://127.0.0.1:${site.broker.addresses().websocket?.port}/`
    const closed = new Promise<boolean>((resolve) => {
      const webSocket = new WebSocket(url, ['graphql-ws'])
      webSocket.onopen = () => resolve(false)
      webSocket.onerror = () => resolve(true)
    })
    expect(await closed).toBe(true)
  })

  test('that sends text is closed [MQTT-6.0.0-1]', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const webSocket = new WebSocket(`ws://127.0.0.1:${site.broker.addresses().websocket?.port}/`, ['mqtt'])
    await new Promise((resolve) => {
      webSocket.onopen = resolve
    })
    webSocket.send('hello')
    await until(() => webSocket.readyState === WebSocket.CLOSED)
    expect(site.broker.stats().refused['text-frame']).toBe(1)
  })

  test('is what a browser is told to speak', async () => {
    const site = await startSite({ listeners: { websocket: LOOPBACK } })
    const response = await fetch(`http://127.0.0.1:${site.broker.addresses().websocket?.port}/`)
    expect(response.status).toBe(426)
  })
})

describe('a listener that cannot be', () => {
  async function startWith(listeners: object): Promise<void> {
    const dir = await tempDir()
    const broker = new Broker({
      listeners,
      insecure: true,
      spool: new MemoryLog(),
      credentials: { file: join(dir, 'credentials.json') },
      certificates: { authorityDir: join(dir, 'authority'), otherAuthorities: '', required: false },
      sessions: { dir },
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    await broker.start()
  }

  test('because the port is taken says so', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as { port: number }
    await expect(startWith({ tcp: { host: '127.0.0.1', port } })).rejects.toThrow(
      expect.objectContaining({ code: 'LISTEN_FAILED', hint: expect.stringContaining('another port') }),
    )
    other.close()
  })

  test('because its certificate is none says so', async () => {
    const broken = fixed({ cert: 'nothing', key: tls.key })
    await expect(startWith({ tls: LOOPBACK, certificate: broken })).rejects.toThrow(
      expect.objectContaining({ code: 'TLS_INVALID' }),
    )
  })
})

describe('the tools of Mosquitto', () => {
  const installed = Bun.which('mosquitto_pub') !== null && Bun.which('mosquitto_sub') !== null

  test.skipIf(!installed)('publish a reading and watch it (needs mosquitto-clients)', async () => {
    const site = await startSite()
    const where = ['-h', '127.0.0.1', '-p', String(site.port)]
    const subscriber = spawn('mosquitto_sub', [...where, '-t', 'sites/+/devices/+/telemetry', '-v'])
    let output = ''
    subscriber.stdout.on('data', (chunk) => {
      output += chunk
    })
    const ended = new Promise((resolve) => subscriber.on('close', resolve))
    const probe = await site.client()
    await until(async () => {
      const { publishesDirect } = site.broker.stats()
      await probe.publishAsync('sites/1/devices/PROBE/telemetry', '{}', { qos: 1 })
      // Someone watches once a message no longer takes the short way.
      return site.broker.stats().publishesDirect === publishesDirect
    })
    for (const qos of ['1', '2']) {
      const publisher = spawn('mosquitto_pub', [...where, '-t', TOPIC, '-q', qos, '-m', '{"powerKw": 45.2}'])
      expect(await new Promise((resolve) => publisher.on('close', resolve))).toBe(0)
    }
    // It writes what it has when told to end.
    subscriber.kill('SIGTERM')
    await ended
    expect(output.split('\n').filter((line) => line === `${TOPIC} {"powerKw": 45.2}`)).toHaveLength(2)
    expect(site.log.of(TOPIC)).toEqual(['{"powerKw": 45.2}', '{"powerKw": 45.2}'])
  })
})
