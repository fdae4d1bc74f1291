import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { IdentityFile } from '../../../edge/identity/identity-file.ts'
import { DAY_MS, HOUR_MS } from '../../../shared/durations.ts'
import { certifyingIngest } from '../../support/certifying-ingest.ts'
import { enrolledGateway, identityOf } from '../../support/enrolled-gateway.ts'
import { enrolmentCloud } from '../../support/enrolment-cloud.ts'
import { type Dates, makeAuthority } from '../../support/made-certificates.ts'
import { append, numbered } from '../../support/spool.ts'
import { until } from '../../support/until.ts'

const serialOf = (pem: string): string => new X509Certificate(pem).serialNumber

/** Of a certificate of ninety days that began so long ago. */
function begun(agoMs: number, nowMs = Date.now()): Dates {
  return { notBeforeMs: nowMs - agoMs, notAfterMs: nowMs - agoMs + 90 * DAY_MS }
}

const DUE = 65 * DAY_MS

describe('over the uplink', () => {
  test('a certificate renews during a stream of records, and each record is counted once', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const old = await authority.gateway('gw-1', begun(DUE))
    // It is due at once; the stream stands first.
    const signed = Promise.withResolvers<void>()
    const sign = ingest.set.answer
    ingest.set.answer = (csrDer) => signed.promise.then(() => sign(csrDer) as Promise<{ certificatePem: string }>)
    const { uplink, spool, file, renewal } = await enrolledGateway(ingest.port, identityOf(authority, old))
    let written = 0
    const write = async (): Promise<void> => {
      await append(spool, numbered(20, written))
      written += 20
    }
    while (ingest.taken.size < 200 || !renewal.stats().underWay) await write()
    expect(renewal.stats()).toMatchObject({ renewals: 0 })
    signed.resolve()
    while (ingest.sessions.length < 2) await write()
    for (let i = 0; i < 10; i++) await write()
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect([...ingest.taken.values()].every((times) => times === 1)).toBe(true)
    expect(ingest.taken.size).toBe(written)
    expect(uplink.stats()).toMatchObject({ ackedRecords: written, connected: true })
    // The new key and the new certificate, for the new session and on disk.
    const stored = file.read()
    expect(ingest.sessions).toEqual([serialOf(old.cert), serialOf(stored?.certificate ?? '')])
    expect(stored?.privateKey).not.toBe(old.key)
    expect(stored?.authority).toBe(authority.ca)
    expect(renewal.stats()).toMatchObject({ renewals: 1, lastError: null })
  })

  test('the clock of the cloud decides when it is time, since the one here may be wrong', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    ingest.set.wallMs = () => Date.now() + DUE
    const old = await authority.gateway('gw-1', begun(DAY_MS))
    const { renewal } = await enrolledGateway(ingest.port, identityOf(authority, old))
    await until(() => ingest.requests.length > 0)
    await until(() => renewal.stats().renewals > 0)
  })

  test('an answer that is not for this key, this gateway or by this authority is not taken', async () => {
    const authority = await makeAuthority()
    const attacker = await makeAuthority('attacker')
    const wrong = [
      async () => ({ certificatePem: (await authority.gateway('gw-1')).cert }),
      async (csr: Buffer) => ({ certificatePem: await authority.sign(csr, 'gw-2') }),
      async (csr: Buffer) => ({ certificatePem: await attacker.sign(csr, 'gw-1') }),
      async () => ({ certificatePem: 'not a certificate' }),
    ]
    let asked = 0
    const ingest = await certifyingIngest(authority, { answer: (csr) => (wrong[asked++] as (typeof wrong)[1])(csr) })
    const old = await authority.gateway('gw-1', begun(DUE))
    const told = new Set<string | null>()
    const { renewal, file } = await enrolledGateway(ingest.port, identityOf(authority, old))
    await until(() => {
      told.add(renewal.stats().lastError)
      if (asked === wrong.length) ingest.set.answer = () => 'nothing'
      return told.size >= wrong.length + 1
    })
    expect([...told].join()).toMatch(/another key.*gw-2.*authority did not sign.*cannot be read/)
    expect(file.read()?.certificate).toBe(old.cert)
  })

  test('a cloud that has none at present is asked again, and people are not told to get a token', async () => {
    const authority = await makeAuthority()
    let asked = 0
    const sign = async (csr: Buffer) => ({ certificatePem: await authority.sign(csr, 'gw-1') })
    const ingest = await certifyingIngest(authority, { answer: async (csr) => (asked++ === 0 ? {} : sign(csr)) })
    const old = await authority.gateway('gw-1', begun(DUE))
    const { renewal } = await enrolledGateway(ingest.port, identityOf(authority, old), {
      renewal: { retry: { baseMs: 300, capMs: 300 } },
    })
    await until(() => renewal.stats().lastError?.includes('at present'))
    expect(renewal.stats().refused).toBe(false)
    await until(() => renewal.stats().renewals === 1)
  })

  test('an answer that was lost is asked for with the same key', async () => {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority, { answer: () => 'nothing' })
    const old = await authority.gateway('gw-1', begun(DUE))
    await enrolledGateway(ingest.port, identityOf(authority, old), { uplink: { certificateTimeoutMs: 50 } })
    const keyOf = async (csrDer: Buffer) => new X509Certificate(await authority.sign(csrDer, 'x')).publicKey
    await until(() => ingest.requests.length >= 2)
    const [first, second] = await Promise.all(ingest.requests.slice(0, 2).map(keyOf))
    expect(first?.equals(second as NonNullable<typeof second>)).toBe(true)
  })
})

describe('after its end', () => {
  async function expired(endedAgoMs: number, serverDates?: Dates) {
    const authority = await makeAuthority()
    const ingest = await certifyingIngest(authority)
    const server = await authority.server(['ingest.busbar.internal'], serverDates)
    const cloud = await enrolmentCloud({ authority, server })
    const old = await authority.gateway('gw-1', begun(90 * DAY_MS + endedAgoMs))
    return { authority, ingest, cloud, old, identity: identityOf(authority, old, { url: cloud.url }) }
  }

  test('it is renewed over the API by proof of its key, and the uplink dials with the new one', async () => {
    const { ingest, cloud, identity } = await expired(HOUR_MS)
    const { spool, renewal, uplink } = await enrolledGateway(ingest.port, identity)
    await append(spool, numbered(5))
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect(uplink.stats().connected).toBe(true)
    expect(renewal.stats().renewals).toBe(1)
    expect(ingest.sessions).toEqual([serialOf(cloud.issued[0] as string)])
  })

  test('beyond the grace period the cloud says no, the records stay, and only a new token helps', async () => {
    const { authority, ingest, cloud, identity } = await expired(60 * DAY_MS)
    cloud.set.refuseRenewal = true
    const { spool, renewal, dir } = await enrolledGateway(ingest.port, identity)
    await append(spool, numbered(5))
    await until(() => renewal.stats().refused)
    expect(renewal.stats().lastError).toContain('the time for renewing is over')
    expect(spool.stats().lanes.telemetry.records).toBe(5)
    // As `busbar-edge enroll --replace` does, beside the running gateway.
    new IdentityFile(dir).write(identityOf(authority, await authority.gateway('gw-1'), { url: cloud.url }))
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect(renewal.stats()).toMatchObject({ refused: false, lastError: null })
  })

  test('a cloud that shows a certificate of another authority gets no proof', async () => {
    const { ingest, identity } = await expired(HOUR_MS)
    const attacker = await enrolmentCloud()
    const { renewal } = await enrolledGateway(ingest.port, { ...identity, url: attacker.url })
    await until(() => renewal.stats().lastError?.includes('does not trust'))
    expect(attacker.asked).toEqual([])
  })
})

test('a gateway that is not enrolled keeps its records, says so, and dials as soon as it is', async () => {
  const authority = await makeAuthority()
  const ingest = await certifyingIngest(authority)
  const { dir, spool, uplink } = await enrolledGateway(ingest.port, null, {
    uplink: { backoffBaseMs: 60_000, backoffMaxMs: 60_000 },
  })
  await append(spool, numbered(5))
  await until(() => uplink.stats().lastErrorCode === 'NOT_ENROLLED')
  new IdentityFile(dir).write(identityOf(authority, await authority.gateway('gw-1')))
  await until(() => spool.stats().lanes.telemetry.records === 0, { timeoutMs: 5_000 })
})
