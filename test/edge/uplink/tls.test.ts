import { describe, expect, test } from 'vitest'
import type { UplinkTls } from '../../../edge/uplink/channel.ts'
import { type Authority, newAuthority } from '../../support/certificates.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { append, numbered, startSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { startUplink, stopUplink } from '../../support/uplink-under-test.ts'

async function authority(name?: string): Promise<Authority> {
  return newAuthority(await tempDir(), name)
}

async function uplinkTo(port: number, tls: UplinkTls | undefined, address = `localhost:${port}`) {
  const spool = await startSpool(await tempDir())
  const uplink = await startUplink(spool, port, {
    address,
    ...(tls === undefined ? {} : { tls }),
  })
  await append(spool, numbered(5))
  return { spool, uplink }
}

describe('over TLS', () => {
  test('records arrive, by name and by address with the name given', async () => {
    const { ca, issue } = await authority()
    const { port } = await ingestCore({
      dir: await tempDir(),
      secure: { server: issue('localhost'), own: { certificates: ca }, sites: { 'gw-1': [1] } },
    })
    const client = issue('gw-1')
    const byName = await uplinkTo(port, { ca, ...client })
    await until(() => byName.uplink.stats().ackedRecords === 5)
    await stopUplink(byName.uplink)
    const byAddress = await uplinkTo(port, { ca, ...client, serverName: 'localhost' }, `127.0.0.1:${port}`)
    await until(() => byAddress.uplink.stats().ackedRecords === 5)
  })

  test('an address without a name, and certificates that are none, stop the uplink only', async () => {
    const { ca } = await authority()
    for (const tls of [{ ca }, { ca: 'no certificate', serverName: 'localhost' }]) {
      const { uplink, spool } = await uplinkTo(1, tls, '127.0.0.1:1')
      await until(() => uplink.stats().lastErrorCode === 'UPLINK_TLS_INVALID')
      expect(spool.stats().lanes.telemetry.records).toBe(5)
    }
  })

  test('a cloud that is not trusted gets nothing', async () => {
    const { ca, issue } = await authority()
    const stranger = await authority('other-ca')
    const { port, ingest } = await ingestCore({
      dir: await tempDir(),
      secure: { server: issue('localhost'), own: { certificates: ca } },
    })
    const { uplink } = await uplinkTo(port, { ca: stranger.ca })
    await until(() => uplink.stats().lastErrorCode === 'UPLINK_UNTRUSTED')
    expect(uplink.stats().lastError).toContain('an authority that this gateway does not trust')
    expect(uplink.stats().connected).toBe(false)
    expect(ingest.stats().recordsPublished).toBe(0)
  })
})

describe('with certificates on both sides', () => {
  test('the gateway is admitted by its own name only', async () => {
    const { ca, issue } = await authority()
    const { port } = await ingestCore({
      dir: await tempDir(),
      secure: { server: issue('localhost'), own: { certificates: ca }, sites: { 'gw-1': [1] } },
    })
    const right = await uplinkTo(port, { ca, ...issue('gw-1') })
    await until(() => right.uplink.stats().ackedRecords === 5)
    const wrong = await uplinkTo(port, { ca, ...issue('gw-2') })
    await until(() => wrong.uplink.stats().lastErrorCode === 'UPLINK_REFUSED')
    expect(wrong.uplink.stats().lastError).toContain('gw-2')
    expect(right.uplink.stats().connected).toBe(true)
  })

  test('a gateway without a certificate is not let in', async () => {
    const { ca, issue } = await authority()
    const { port } = await ingestCore({
      dir: await tempDir(),
      secure: { server: issue('localhost'), own: { certificates: ca }, sites: { 'gw-1': [1] } },
    })
    const { uplink, spool } = await uplinkTo(port, { ca })
    await until(() => uplink.stats().lastErrorCode !== null)
    expect(spool.stats().lanes.telemetry.records).toBe(5)
  })
})
