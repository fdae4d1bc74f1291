import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import type { IClientOptions } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { revokeByName } from '../../../edge/authority/revocations.ts'
import { issueServerCertificate, siteServerCertificate } from '../../../edge/authority/server-certificate.ts'
import type { RefusalReason } from '../../../edge/broker/counters.ts'
import { removeCredential } from '../../../edge/broker/credentials.ts'
import { systemClock } from '../../../shared/clock.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { systemRandom } from '../../../shared/random.ts'
import { newAuthority } from '../../support/certificates.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import {
  device,
  hastyClock,
  newSiteAuthority,
  type Pair,
  type SecureSite,
  startSecureSite,
  type TestAuthority,
} from './support/secure-site.ts'
import { mqttClient } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const NOT_AUTHORIZED = /Not authorized/
let authority: TestAuthority
let stranger: TestAuthority
/** Of device INV-001. */
let good: Pair

beforeAll(async () => {
  authority = await newSiteAuthority(systemClock.wallMs() - 400 * DAY_MS)
  stranger = await newSiteAuthority()
  good = await authority.issue(device('INV-001'))
})
afterAll(() => {
  authority.remove()
  stranger.remove()
})

const knock = (site: SecureSite, pair: Pair | null, options: IClientOptions = {}) =>
  mqttClient(`mqtts://localhost:${site.tlsPort}`, { ca: authority.ca, ...(pair ?? {}), ...options })

const installed = Bun.which('mosquitto_pub') !== null && Bun.which('mosquitto_sub') !== null

describe.skipIf(!installed)('the tools of Mosquitto (needs mosquitto-clients)', () => {
  let site: SecureSite
  let dir: string
  let files = 0

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'busbar-'))
  })
  afterAll(() => rmSync(dir, { recursive: true }))

  async function tool(name: 'mosquitto_pub' | 'mosquitto_sub', pair: Pair, args: readonly string[], ca = authority.ca) {
    const base = join(dir, String(++files))
    writeFileSync(`${base}.pem`, pair.cert)
    writeFileSync(`${base}.key`, pair.key)
    writeFileSync(`${base}.ca`, ca)
    const where = ['-h', 'localhost', '-p', String(site.tlsPort)]
    const who = ['--cafile', `${base}.ca`, '--cert', `${base}.pem`, '--key', `${base}.key`]
    const child = spawn(name, [...where, ...who, ...args])
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        said += chunk
      })
    }
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    return { code, said }
  }
  const publish = ['-q', '1', '-t', TOPIC, '-m', '{"powerKw": 45.2}']

  test('publish with a good certificate, and with no other', async () => {
    site = await startSecureSite(authority)
    expect(await tool('mosquitto_pub', good, publish)).toEqual({ code: 0, said: '' })
    expect(site.log.of(TOPIC)).toEqual(['{"powerKw": 45.2}'])

    const now = systemClock.wallMs()
    const bad: [Pair, RefusalReason][] = [
      [await stranger.issue(device('INV-001')), 'unknown-authority'],
      [await authority.issueAt(now - 100 * DAY_MS, device('INV-001'), 99), 'expired'],
      [await authority.issueAt(now + 2 * DAY_MS, device('INV-001'), 30), 'not-yet-valid'],
    ]
    const revoked = await authority.issue(device('INV-009'))
    revokeByName(authority.dir, 'INV-009', systemClock)
    bad.push([revoked, 'revoked'])
    for (const [pair, reason] of bad) {
      const { code, said } = await tool('mosquitto_pub', pair, publish)
      expect({ reason, refused: code !== 0, said }).toEqual({
        reason,
        refused: true,
        said: expect.stringMatching(/not authori/i),
      })
      expect(site.broker.stats().refused[reason]).toBe(1)
    }
    // The client does not trust a broker of another authority either.
    expect((await tool('mosquitto_pub', good, publish, stranger.ca)).code).not.toBe(0)

    const elsewhere = ['-q', '1', '-t', 'sites/2/devices/INV-001/telemetry', '-m', '{}']
    expect((await tool('mosquitto_pub', good, elsewhere)).code).not.toBe(0)
    expect(site.broker.stats().refused['other-device']).toBeGreaterThan(0)
    for (const filter of [
      '#',
      '+/#',
      '$SYS/#',
      'sites/1/devices/INV-001/#',
      '$share/all/sites/+/devices/+/telemetry',
    ]) {
      const { said } = await tool('mosquitto_sub', good, ['-t', filter, '-W', '5'])
      expect({ filter, said }).toEqual({ filter, said: 'All subscription requests were denied.\n' })
    }
    expect(site.broker.stats().refused['subscribe-denied']).toBe(5)
    expect(site.log.records.filter(({ lane }) => lane === 'telemetry')).toHaveLength(1)
  })
})

describe('a client certificate', () => {
  test('says who it is without a password; a password beside it must be right and of the same device', async () => {
    const site = await startSecureSite(authority)
    const same = site.login({ ...device('INV-001'), username: 'by-password' })
    const other = site.login(device('INV-002'))
    for (const login of [{}, same, { username: 'whatever' }]) {
      const client = await knock(site, good, login)
      await client.publishAsync(TOPIC, '{}', { qos: 1 })
      await client.endAsync()
    }
    for (const login of [other, { ...same, password: 'guess' }, { username: 'nobody', password: '' }]) {
      await expect(knock(site, good, login)).rejects.toThrow(/Bad username or password/)
    }
    expect(site.log.of(TOPIC)).toHaveLength(3)
  })

  test('that is bad is not made good by a right password', async () => {
    const site = await startSecureSite(authority)
    const login = site.login(device('INV-001'))
    await expect(knock(site, await stranger.issue(device('INV-001')), login)).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused['unknown-authority']).toBe(1)
    // Without one the password counts.
    await knock(site, null, login)
    await expect(knock(site, null)).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused.anonymous).toBe(1)
  })

  test('can be required', async () => {
    const certificates = { authorityDir: authority.dir, otherAuthorities: '', required: true }
    const site = await startSecureSite(authority, { certificates })
    await expect(knock(site, null, site.login(device('INV-001')))).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused['certificate-missing']).toBe(1)
    await knock(site, good)
  })

  test('of an observer or operator gives their roles', async () => {
    const site = await startSecureSite(authority)
    const observer = await knock(site, await authority.issue({ role: 'observer', username: 'scada' }))
    const operator = await knock(site, await authority.issue({ role: 'operator', username: 'alice' }))
    for (const client of [observer, operator]) await client.subscribeAsync('sites/+/devices/+/#')
    await expect(observer.subscribeAsync('$SYS/#')).rejects.toThrow()
    const seen: string[] = []
    operator.on('message', (topic) => seen.push(topic))
    await operator.subscribeAsync('$SYS/#')
    await knock(site, good)
    await until(() => seen.some((topic) => topic.endsWith('/new/clients')))
  })

  test('is not judged by its dates while the gateway does not know the time, but by all else', async () => {
    const clock = { ...hastyClock, wallMs: () => 3_600_000 }
    const site = await startSecureSite(authority, { clock })
    await knock(site, await authority.issueAt(systemClock.wallMs() - 100 * DAY_MS, device('INV-001'), 99))
    await expect(knock(site, await stranger.issue(device('INV-001')))).rejects.toThrow(NOT_AUTHORIZED)
    const gone = await authority.issue(device('INV-008'))
    revokeByName(authority.dir, 'INV-008', systemClock)
    await expect(knock(site, gone)).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused).toMatchObject({ revoked: 1, 'unknown-authority': 1 })
  })

  test('of another authority that is named counts, by a name of ours or by a username', async () => {
    const theirs = newAuthority(await tempDir(), 'plant')
    const byName = theirs.issue('scada')
    const certificates = { authorityDir: authority.dir, otherAuthorities: theirs.ca, required: false }
    const site = await startSecureSite(authority, { certificates })
    // openssl leaves the use out where it is not told; such a one is for no purpose of ours.
    await expect(knock(site, byName)).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused['certificate-unfit']).toBe(1)
    const client = theirs.issue('scada', 'DNS:scada\nextendedKeyUsage=clientAuth')
    await expect(knock(site, client)).rejects.toThrow(NOT_AUTHORIZED)
    site.login({ role: 'observer', username: 'scada' })
    const observer = await knock(site, client)
    await observer.subscribeAsync('sites/+/devices/+/#')
    const uri = 'URI:urn:busbar:device:1:INV-001\nextendedKeyUsage=clientAuth'
    const meter = await knock(site, theirs.issue('scada', uri))
    await meter.publishAsync(TOPIC, '{}', { qos: 1 })
    const two = 'URI:urn:busbar:device:1:INV-001,URI:urn:busbar:operator:eve\nextendedKeyUsage=clientAuth'
    await expect(knock(site, theirs.issue('eve', two))).rejects.toThrow(NOT_AUTHORIZED)
    removeCredential(join(site.dir, 'credentials.json'), 'scada')
    await until(() => !observer.connected)
    expect(meter.connected).toBe(true)
    expect(site.broker.stats().refused['login-removed']).toBe(1)
  })

  test('and a password of the same device are one owner of a client id, another device is not', async () => {
    const site = await startSecureSite(authority)
    const login = site.login({ ...device('INV-001'), username: 'by-password' })
    const first = await knock(site, good, { clientId: 'meter', clean: false })
    const second = await site.client({ ...login, clientId: 'meter', clean: false })
    await until(() => !first.connected)
    const other = await authority.issue(device('INV-002'))
    await expect(knock(site, other, { clientId: 'meter' })).rejects.toThrow(/Identifier rejected/)
    await second.endAsync()
    await until(() => site.broker.stats().connections === 0)
    await expect(knock(site, other, { clientId: 'meter' })).rejects.toThrow(/Identifier rejected/)
    expect((await knock(site, good, { clientId: 'meter' })).connected).toBe(true)
  })

  test('keeps the sessions of a device whose password is taken away', async () => {
    const site = await startSecureSite(authority)
    const sessions = () => site.broker.stats().sessions
    for (const [login, clientId] of [
      [site.login(device('INV-001')), 'certified'],
      [site.login(device('INV-031')), 'password-alone'],
    ] as const) {
      await (await site.client({ ...login, clientId, clean: false })).endAsync()
    }
    await until(() => site.broker.stats().connections === 0 && sessions() === 2)
    for (const name of ['INV-001', 'INV-031']) removeCredential(join(site.dir, 'credentials.json'), name)
    await until(() => sessions() === 1)
    const back = await knock(site, good, { clientId: 'certified', clean: false })
    expect(sessions()).toBe(1)
    expect(back.connected).toBe(true)
  })

  test('that is revoked loses its open connection, and its will; others stay', async () => {
    const site = await startSecureSite(authority)
    const lost = await authority.issue(device('INV-007'))
    const stays = await knock(site, good)
    const will = {
      topic: 'sites/1/devices/INV-007/status',
      payload: Buffer.from('{"status":"ERROR"}'),
      qos: 1,
      retain: false,
    } as const
    const client = await knock(site, lost, { will })
    revokeByName(authority.dir, 'INV-007', systemClock)
    await until(() => !client.connected)
    await expect(knock(site, lost)).rejects.toThrow(NOT_AUTHORIZED)
    expect(site.broker.stats().refused.revoked).toBe(2)
    await stays.publishAsync(TOPIC, '{}', { qos: 1 })
    // The edge says itself that the device is gone; what the device left behind is not said.
    const status = site.log.of(will.topic).map((payload) => JSON.parse(payload).status)
    expect(status).toEqual(['ONLINE', 'OFFLINE'])
  })
})

describe("the broker's certificate", () => {
  test('is missing without an authority, and that says what to do', async () => {
    const dir = await tempDir()
    const certificate = siteServerCertificate(dir, { clock: systemClock, random: systemRandom })
    const listeners = { tls: { host: '127.0.0.1', port: 0 }, certificate }
    await expect(startSecureSite(authority, { listeners })).rejects.toThrow(
      expect.objectContaining({ code: 'CONFIG_NO_CERTIFICATE', hint: expect.stringContaining('busbar-edge ca init') }),
    )
  })

  test('is shown anew to those who come later when it was made anew, and when its time is near', async () => {
    let now = systemClock.wallMs()
    const clock = { ...hastyClock, wallMs: () => now }
    const site = await startSecureSite(authority, { clock })
    const stays = await knock(site, good)
    const shown = () =>
      new Promise<string>((resolve, reject) => {
        const socket = tlsConnect({ port: site.tlsPort, host: '127.0.0.1', rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().serialNumber)
          socket.destroy()
        })
        socket.on('error', reject)
      })
    const first = await shown()
    await issueServerCertificate(authority.dir, { names: [], days: 30 }, { clock, random: systemRandom })
    await until(async () => (await shown()) !== first)
    const second = await shown()
    now += 21 * DAY_MS
    await until(async () => (await shown()) !== second)
    expect(stays.connected).toBe(true)
  })
})
