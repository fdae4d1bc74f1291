import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createGatewayTrust } from '../../../cloud/authority/authority.ts'
import { MasterKey } from '../../../cloud/identity/identity.ts'
import { systemRandom } from '../../../shared/random.ts'
import { madeAuthority, newAuthority, newRequest } from '../../support/certificates.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { trustCore } from '../../support/gateway-trust.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { tempDir } from '../../support/temp-dir.ts'

const DAY_MS = 86_400_000

await describeOnEveryDatabase('the authority of the cloud', (databases) => {
  test('is made once, by whichever of two cores that start at once, and its key lies under seal', async () => {
    const url = await databases.freshUrl()
    const [one, other] = [await databases.open({ url }), await databases.open({ url })]
    const cores = await Promise.all([trustCore(one), trustCore(other)])
    const [first, second] = cores.map(({ authority }) => authority.issuer.anchor.fingerprint256)
    expect(second).toBe(first)
    const rows = await one.kysely.selectFrom('certificate_authorities').selectAll().execute()
    expect(rows).toHaveLength(1)
    expect(JSON.stringify(rows)).not.toContain('PRIVATE KEY')
    // What one signs the other knows.
    const { csrPem } = await newRequest()
    const { certificatePem } = await (cores[0] as (typeof cores)[0]).enrolment.redeem(
      { token: await (cores[1] as (typeof cores)[0]).token(), csrPem },
      'here',
    )
    const certificate = new X509Certificate(certificatePem)
    expect(certificate.verify((cores[1] as (typeof cores)[0]).authority.issuer.anchor.publicKey)).toBe(true)
  })

  test('opens with the older of two master keys, is sealed under the newer, and without either it does not start', async () => {
    const database = await databases.open()
    const [older, newer] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
    const start = (...keys: Buffer[]) =>
      trustCore(database, { masterKey: () => new MasterKey(keys, systemRandom) }).then(
        ({ authority }) => authority.issuer.anchor.fingerprint256,
      )
    const fingerprint = await start(older)
    await expect(start(newer)).rejects.toMatchObject({ code: 'MASTER_KEY_MISSING' })
    expect(await start(newer, older)).toBe(fingerprint)
    expect(await start(newer)).toBe(fingerprint)
  })
})

describe("an operator's authority", () => {
  async function start(own: { readonly certificates: string; readonly key?: string }, clock = new ManualClock()) {
    const { authority } = createGatewayTrust({
      own,
      masterKey: () => {
        throw new Error('it has no use for a master key')
      },
      ingestFiles: () => ({}),
      hosts: ['cloud.example', 'no host name!'],
      settings: { gatewayDays: 90, graceDays: 30, tokenHours: 24 },
      attempts: { failuresMax: 5, windowMs: 60_000 },
      ingestAddress: null,
      clock,
      random: systemRandom,
    } as unknown as Parameters<typeof createGatewayTrust>[0])
    await authority.start()
    return authority
  }

  test('signs for this core, with the names under which it is reached', async () => {
    const made = await madeAuthority()
    const clock = new ManualClock(Date.now())
    const authority = await start({ certificates: made.certificatePem, key: made.keyPem }, clock)
    const tls = await authority.ingestTls()
    const certificate = new X509Certificate(tls.cert)
    for (const name of ['ingest.busbar.internal', 'localhost', 'cloud.example']) {
      expect(certificate.checkHost(name)).toBe(name)
    }
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1')
    expect(certificate.checkIP('::1')).toBe('::1')
    expect(certificate.verify(authority.issuer.anchor.publicKey)).toBe(true)
    // Never beyond the authority itself, which lasts a year here.
    expect(certificate.validToDate.getTime()).toBe(authority.issuer.anchor.validToDate.getTime())
    expect(await authority.listenerTls()).toEqual({ cert: tls.cert, key: tls.key })
    clock.advance(250 * DAY_MS)
    expect((await authority.listenerTls()).cert).not.toBe(tls.cert)
  })

  test('as operators make them with openssl is understood', async () => {
    const dir = await tempDir()
    const { ca } = newAuthority(dir)
    const { readFileSync } = await import('node:fs')
    const key = readFileSync(`${dir}/test-ca-ca.key`, 'utf8')
    const authority = await start({ certificates: ca, key }, new ManualClock(Date.now()))
    expect(authority.issuer.canIssue).toBe(true)
    expect(new X509Certificate((await authority.listenerTls()).cert).checkHost('localhost')).toBe('localhost')
  })

  test('without its key makes no certificate, and says what to set', async () => {
    const { certificatePem } = await madeAuthority()
    const authority = await start({ certificates: certificatePem }, new ManualClock(Date.now()))
    expect(() => authority.requireIssuing()).toThrow('makes no certificates')
    await expect(authority.ingestTls()).rejects.toMatchObject({
      code: 'AUTHORITY_INVALID',
      hint: expect.stringContaining('ingest.tls.certFile'),
    })
  })

  test('that cannot work is refused at the start', async () => {
    const [made, other] = [await madeAuthority(), await madeAuthority()]
    const server = await made.gateway('gw-1')
    const now = new ManualClock(Date.now())
    const wrong: [object, string][] = [
      [{ certificates: '' }, 'holds no certificate'],
      [{ certificates: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }, 'no certificate'],
      [{ certificates: server.cert, key: server.key }, 'may not sign others'],
      [{ certificates: made.certificatePem, key: other.keyPem }, 'not that of its certificate'],
      [{ certificates: made.certificatePem, key: 'nonsense' }, 'cannot be read'],
      [{ certificates: `${made.certificatePem}${server.cert}` }, 'does not lead to a root'],
    ]
    for (const [own, message] of wrong) {
      await expect(start(own as Parameters<typeof start>[0], now)).rejects.toThrow(message)
    }
    const later = new ManualClock(Date.now() + 400 * DAY_MS)
    await expect(start({ certificates: made.certificatePem }, later)).rejects.toThrow('expired')
  })
})
