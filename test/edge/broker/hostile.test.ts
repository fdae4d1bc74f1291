import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { seededRandom } from '../../support/seeded-random.ts'
import { until } from '../../support/until.ts'
import { connectFrame, frame, publishFrame, remainingLength } from './support/frames.ts'
import { HostileFrames } from './support/hostile-frames.ts'
import { device, newSiteAuthority, startSecureSite, type TestAuthority } from './support/secure-site.ts'
import { mqttClient, type Site, startSite } from './support/site.ts'

const HEALTHY = 'sites/1/devices/INV-001/telemetry'
const VICTIM = 'sites/1/devices/INV-002/telemetry'
const SEQUENCES = 1500
const AT_ONCE = 100
const HALF_OPEN = 10_000

/** A device that publishes one reading after the other, and knows how long each took. */
class HealthyDevice {
  readonly latenciesMs: number[] = []
  private running = true
  private readonly done: Promise<void>

  constructor(client: MqttClient) {
    this.done = this.run(client)
  }

  async stop(): Promise<void> {
    this.running = false
    await this.done
  }

  get worstMs(): number {
    return Math.max(...this.latenciesMs)
  }

  private async run(client: MqttClient): Promise<void> {
    while (this.running) {
      const since = performance.now()
      await client.publishAsync(HEALTHY, String(this.latenciesMs.length), { qos: 1 })
      this.latenciesMs.push(performance.now() - since)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
}

/** Sends `bytes` and waits until the broker closes, or does not; tells whether it was the broker who closed. */
async function attack(port: number, bytes: Uint8Array): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  let closed = false
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
  })
  await once(socket, 'connect').catch(() => undefined)
  socket.resume()
  socket.write(bytes)
  const deadline = performance.now() + 30
  while (!closed && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 3))
  const byBroker = closed
  socket.destroy()
  return byBroker
}

function refusals(site: Site): number {
  return Object.values(site.broker.stats().refused).reduce((sum, count) => sum + count, 0)
}

describe.each([
  ['before the login', false],
  ['after the login', true],
])('frames by the thousand that are oversize, malformed or random, %s', (_when, login) => {
  test('break nothing, and nobody beside them notices', async () => {
    const seed = randomInt(2 ** 31)
    const random = seededRandom(seed)
    const limits = { loginFailuresMax: 1e6, connectTimeoutMs: 2000 }
    const site = await startSite({ insecure: false, limits })
    const healthyLogin = site.login(device('INV-001'))
    const evil = site.login(device('EVIL'))
    site.login(device('INV-002'))
    const healthy = new HealthyDevice(await site.client(healthyLogin))
    const own = 'sites/1/devices/EVIL/telemetry'
    const topics = [VICTIM, own, `${own}/#`, '#', '$SYS/#', 'sites/1/devices/INV-002/commands', '\u0000', '']
    const frames = new HostileFrames(random, topics)
    let cut = 0
    let farewells = 0
    for (let from = 0; from < SEQUENCES; from += AT_ONCE) {
      const attacks = Array.from({ length: AT_ONCE }, async (_, i) => {
        const sequence = frames.sequence()
        // Who says DISCONNECT is not refused.
        if (sequence.includes(Buffer.of(0xe0, 0))) farewells++
        const greeting = login ? connectFrame({ ...evil, clientId: `evil-${from + i}` }) : Buffer.alloc(0)
        if (await attack(site.port, Buffer.concat([greeting, sequence]))) cut++
      })
      await Promise.all(attacks)
    }
    await healthy.stop()
    await until(() => site.broker.stats().connections === 1, { what: `all are gone (seed ${seed})` })

    const stats = { seed, counted: refusals(site), cut, worstMs: healthy.worstMs }
    expect(stats.counted, JSON.stringify(stats)).toBeGreaterThan(SEQUENCES / 3)
    // Every cut that was seen has its reason; on a busy machine the attacker leaves before most of them.
    expect(stats.counted, JSON.stringify(stats)).toBeGreaterThanOrEqual(cut - farewells)
    expect(site.log.of(HEALTHY), `seed ${seed}`).toEqual(healthy.latenciesMs.map((_, i) => String(i)))
    expect(stats.worstMs, JSON.stringify(stats)).toBeLessThan(2000)
    const allowed = login ? ['sites/1/devices/EVIL/', 'sites/1/devices/INV-001/'] : ['sites/1/devices/INV-001/']
    const others = site.log.records.filter(({ topic }) => !allowed.some((prefix) => topic.startsWith(prefix)))
    expect(others, `seed ${seed}`).toEqual([])
    // It still takes whoever is right.
    const victim = await site.client({ ...healthyLogin, clientId: 'another' })
    await victim.publishAsync(HEALTHY, 'last', { qos: 1 })
  })
})

test('a frame that declares much costs what arrived of it, not what it declared', async () => {
  const site = await startSite({ limits: { connectTimeoutMs: 60_000 } })
  const before = process.memoryUsage().rss
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  for (let i = 0; i < 300; i++) {
    const socket = connect(site.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(
      Buffer.concat([
        connectFrame({ clientId: `big-${i}` }),
        Buffer.of(0x32),
        remainingLength(262_000),
        Buffer.alloc(10),
      ]),
    )
    sockets.push(socket)
  }
  await until(() => site.broker.stats().logins === 300)
  // Reserving what was declared would take 75 MB.
  expect(process.memoryUsage().rss - before).toBeLessThan(60_000_000)
  const whole = frame(0x32, Buffer.of(0xff, 0xff), Buffer.alloc(100_000))
  sockets[0]?.write(whole)
  const client = await site.client()
  await client.publishAsync(HEALTHY, '{}', { qos: 1 })
})

describe('half-open connections', () => {
  let authority: TestAuthority
  beforeAll(async () => {
    authority = await newSiteAuthority()
  })
  afterAll(() => authority.remove())

  /** Opens `count` connections that send `bytes` and nothing more; resolves when all were taken or refused. */
  async function open(port: number, count: number, bytes: Uint8Array | null): Promise<Socket[]> {
    const sockets: Socket[] = []
    for (let from = 0; from < count; from += 500) {
      const batch = Array.from({ length: Math.min(500, count - from) }, async () => {
        const socket = connect(port, '127.0.0.1')
        sockets.push(socket)
        socket.on('error', () => socket.destroy())
        await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined)
        if (bytes !== null && socket.writable) socket.write(bytes)
      })
      await Promise.all(batch)
    }
    return sockets
  }

  test(`by the ten thousand keep no device out, and slow none down`, async () => {
    const site = await startSite({ insecure: false })
    const login = site.login(device('INV-001'))
    const healthy = new HealthyDevice(await site.client(login))
    const partial = publishFrame(HEALTHY, '{}').subarray(0, 3)
    partial[0] = 0x10
    const sockets: Socket[] = []
    const admittedMs: number[] = []
    for (let from = 0; from < HALF_OPEN; from += 2000) {
      sockets.push(...(await open(site.port, 1000, null)), ...(await open(site.port, 1000, partial)))
      const since = performance.now()
      const another = await site.client({ ...login, clientId: `late-${from}` })
      admittedMs.push(performance.now() - since)
      await another.publishAsync('sites/1/devices/INV-001/status', '{"status":"ONLINE"}', { qos: 1 })
      await another.endAsync()
    }
    await healthy.stop()
    const { halfOpen, refused } = site.broker.stats()
    for (const socket of sockets) socket.destroy()
    expect(sockets).toHaveLength(HALF_OPEN)
    expect(halfOpen).toBeGreaterThan(1500)
    expect(halfOpen).toBeLessThanOrEqual(2000)
    // Those that sent a frame that is none were cut for that.
    const cut = refused['half-open'] + refused['connect-timeout'] + refused['malformed-packet']
    expect(cut + halfOpen).toBeGreaterThanOrEqual(HALF_OPEN - 10)
    expect(site.log.of(HEALTHY)).toHaveLength(healthy.latenciesMs.length)
    // Both ends of all of them are in this process; on its own the broker does far better.
    expect(healthy.worstMs).toBeLessThan(2000)
    expect(Math.max(...admittedMs)).toBeLessThan(3000)
    await until(() => site.broker.stats().halfOpen === 0)
  })

  test('amid a TLS handshake neither', async () => {
    const limits = { halfOpenMax: 100, handshakeTimeoutMs: 700 }
    const site = await startSecureSite(authority, { limits })
    // The beginning of a ClientHello.
    const hello = Buffer.of(0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03)
    const sockets = [...(await open(site.tlsPort, 200, null)), ...(await open(site.tlsPort, 200, hello))]
    const good = await authority.issue(device('INV-001'))
    const client = await mqttClient(`mqtts://localhost:${site.tlsPort}`, { ca: authority.ca, ...good })
    await client.publishAsync(HEALTHY, '{}', { qos: 1 })
    await until(() => site.broker.stats().halfOpen === 0)
    await until(() => sockets.every((socket) => socket.closed))
    const { refused } = site.broker.stats()
    expect(refused['half-open']).toBeGreaterThanOrEqual(300)
    expect(refused['half-open'] + refused['handshake-timeout'] + refused['handshake-failed']).toBeGreaterThanOrEqual(
      400,
    )
    const garbage = await open(site.tlsPort, 50, Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    await until(() => garbage.every((socket) => socket.closed))
    expect(site.broker.stats().refused['handshake-failed']).toBeGreaterThanOrEqual(50)
    await client.publishAsync(HEALTHY, '{}', { qos: 1 })
  })
})
