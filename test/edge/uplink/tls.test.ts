import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { gatewayCredentials } from '../../../edge/identity/uplink-credentials.ts'
import type { UplinkTls } from '../../../edge/uplink/channel.ts'
import type { UplinkOptions, UplinkTarget } from '../../../edge/uplink/options.ts'
import { systemClock } from '../../../shared/clock.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { certifyingIngest } from '../../support/certifying-ingest.ts'
import { CLOUD_NAME } from '../../support/enrolment-cloud.ts'
import { type Dates, type MadeAuthority, makeAuthority, usualDates } from '../../support/made-certificates.ts'
import { append, numbered, startSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { startUplink } from '../../support/uplink-under-test.ts'

const ENDED: Dates = usualDates(Date.now() - 100 * DAY_MS)
const TO_COME: Dates = usualDates(Date.now() + 100 * DAY_MS)

async function uplinkTo(port: number, options: Partial<UplinkOptions & UplinkTarget>) {
  const spool = await startSpool(await tempDir())
  const uplink = await startUplink(spool, port, options)
  await append(spool, numbered(5))
  return { spool, uplink }
}

/** What the gateway presents and trusts when all is right. */
async function ours(authority: MadeAuthority, dates?: Dates): Promise<UplinkTls> {
  return { ca: authority.ca, serverName: CLOUD_NAME, ...(await authority.gateway('gw-1', dates)) }
}

async function told(port: number, tls: UplinkTls, options: Partial<UplinkOptions> = {}) {
  const { uplink, spool } = await uplinkTo(port, { tls, ...options })
  await until(() => uplink.stats().lastErrorCode !== null)
  const { connected, lastErrorCode, lastError } = uplink.stats()
  expect({ connected, records: spool.stats().lanes.telemetry.records }).toEqual({ connected: false, records: 5 })
  return { lastErrorCode, lastError }
}

describe('with certificates on both sides', () => {
  test('records arrive, by name and by an address whose certificate has the name that was told', async () => {
    const authority = await makeAuthority()
    const server = await authority.server([CLOUD_NAME, 'localhost'])
    const tls = await ours(authority)
    const { serverName: _, ...unnamed } = tls
    for (const byAddress of [false, true]) {
      // One for each: a cloud that has had records of another spool would take this one for rolled back.
      const { port } = await certifyingIngest(authority, { server })
      const { uplink } = await uplinkTo(port, byAddress ? { address: `localhost:${port}`, tls: unnamed } : { tls })
      await until(() => uplink.stats().ackedRecords === 5)
    }
  })

  test.each([
    ['of another authority', async () => (await makeAuthority('attacker')).server([CLOUD_NAME]), 'UNTRUSTED', 'trust'],
    ['of another name', async (a: MadeAuthority) => a.server(['elsewhere.example']), 'WRONG_NAME', 'another name'],
    ['of a gateway', async (a: MadeAuthority) => a.gateway('gw-9'), 'UNTRUSTED', 'not one of a server'],
    ['that has ended', async (a: MadeAuthority) => a.server([CLOUD_NAME], ENDED), 'DATES', 'the clock says'],
    ['that begins later', async (a: MadeAuthority) => a.server([CLOUD_NAME], TO_COME), 'DATES', 'the clock says'],
  ])('whoever answers with a certificate %s gets nothing', async (_what, server, code, said) => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority, { server: await server(authority) })
    const { lastErrorCode, lastError } = await told(ingest.port, await ours(authority))
    expect(lastErrorCode).toBe(`UPLINK_${code}`)
    expect(lastError).toContain(said)
    expect(ingest.sessions).toEqual([])
  })

  test('a gateway whose clock says 1970 is told so, with the dates of its certificate, and goes on trying', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority, { server: await authority.server([CLOUD_NAME], TO_COME) })
    // The certificate of the server lies in the future, as all do for this gateway.
    const clock = { ...systemClock, wallMs: () => 5_000 }
    const { lastError } = await told(ingest.port, await ours(authority), { clock })
    expect(lastError).toMatch(/the clock says 1970-01-01.*valid from 20.* to 20/)
  })

  test('a certificate of ours that has ended is told with its dates, and what to do', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const { lastErrorCode, lastError } = await told(ingest.port, await ours(authority, ENDED))
    expect(lastErrorCode).toBe('UPLINK_CERTIFICATE_DATES')
    expect(lastError).toMatch(/valid from .* to /)
  })

  test('a gateway without a certificate, or with one of another authority, is not let in', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const stranger = await makeAuthority('stranger')
    const { cert, key } = await stranger.gateway('gw-1')
    await told(ingest.port, { ca: authority.ca, serverName: CLOUD_NAME })
    await told(ingest.port, { ca: authority.ca, serverName: CLOUD_NAME, cert: cert as string, key: key as string })
    expect(ingest.sessions).toEqual([])
  })

  test('what speaks no TLS gets nothing', async () => {
    const authority = await makeAuthority()
    const plain = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('hello') })
    onTestFinished(() => plain.stop(true))
    expect(await told(plain.port as number, await ours(authority))).toMatchObject({ lastErrorCode: 'UPLINK_NO_TLS' })
  })

  test('a revoked gateway is told what the cloud says, and that it needs a new token', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    ingest.set.revoked = { has: () => true } as unknown as Set<string>
    const { lastErrorCode, lastError } = await told(ingest.port, await ours(authority))
    expect(lastErrorCode).toBe('UPLINK_REFUSED')
    expect(lastError).toContain('revoked')
  })

  test('an address without a name, and certificates that are none, stop the uplink only', async () => {
    const { ca } = await makeAuthority()
    for (const tls of [{ ca }, { ca: 'no certificate', serverName: 'localhost' }]) {
      expect(await told(1, tls)).toMatchObject({ lastErrorCode: 'UPLINK_TLS_INVALID' })
    }
  })
})

describe('with certificates from elsewhere', () => {
  async function files(authority: MadeAuthority, dates?: Dates) {
    const dir = await tempDir()
    const [caFile, certFile, keyFile] = ['ca.pem', 'own.pem', 'own.key'].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ]
    const write = async (gatewayDates?: Dates): Promise<void> => {
      const { cert, key } = await authority.gateway('gw-1', gatewayDates)
      writeFileSync(caFile, authority.ca)
      writeFileSync(certFile, cert)
      writeFileSync(keyFile, key, { mode: 0o600 })
    }
    await write(dates)
    const credentials = (port: number) =>
      gatewayCredentials('gw-1', join(dir, 'identity'), {
        address: `127.0.0.1:${port}`,
        insecure: false,
        tls: { caFile, certFile, keyFile, serverName: CLOUD_NAME },
      })
    return { credentials, write, keyFile }
  }

  test('the files are read at every dial, so that whoever renews them need not tell', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const { credentials, write } = await files(authority, ENDED)
    const { uplink, spool } = await uplinkTo(ingest.port, { credentials: credentials(ingest.port) })
    await until(() => uplink.stats().lastErrorCode === 'UPLINK_CERTIFICATE_DATES')
    await write()
    await until(() => spool.stats().lanes.telemetry.records === 0)
  })

  test('a key that others can read is not used until they cannot', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const { credentials, keyFile } = await files(authority)
    if (process.getuid?.() === 0) chownSync(keyFile, 65_534, 65_534)
    chmodSync(keyFile, 0o644)
    const { uplink, spool } = await uplinkTo(ingest.port, { credentials: credentials(ingest.port) })
    await until(() => uplink.stats().lastErrorCode === 'CONFIG_FILE_EXPOSED')
    expect(ingest.sessions).toEqual([])
    chmodSync(keyFile, 0o600)
    await until(() => spool.stats().lanes.telemetry.records === 0)
  })
})
