import { X509Certificate } from 'node:crypto'
import { sql } from 'kysely'
import { expect, test } from 'vitest'
import { sha256Hex } from '../../../cloud/authority/certificate.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { newRequest, signedProof } from '../../support/certificates.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { type TrustCore, trustCore } from '../../support/gateway-trust.ts'

const DAY_MS = 86_400_000
const ADDRESS = '192.0.2.7'

/** A gateway with a certificate that was just made. */
async function enrolled(core: TrustCore, gatewayId = 'gw-1') {
  const { key, csrPem } = await newRequest()
  const { certificatePem } = await core.enrolment.redeem({ token: await core.token(gatewayId), csrPem }, ADDRESS)
  return { key, certificatePem, fingerprint: sha256Hex(new X509Certificate(certificatePem).raw) }
}

/** What a gateway sends whose certificate has expired. */
async function recovery(core: TrustCore, gateway: { readonly key: string; readonly certificatePem: string }) {
  const { csrPem, csrDer } = await newRequest()
  const challenge = core.renewals.challenge()
  const signature = signedProof(gateway.key, challenge, csrDer)
  return { certificatePem: gateway.certificatePem, csrPem, challenge, signature }
}

/** Until another core waits for what a transaction of this one holds; on SQLite it does so at once. */
async function waitsForLock({ kysely, dialect }: DatabaseHandle): Promise<void> {
  if (dialect === 'sqlite') return
  const waiting = sql`select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
  while ((await waiting.execute(kysely)).rows.length === 0);
}

const keyOf = (pem: string) => new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'pem' })

await describeOnEveryDatabase('renewal', (databases) => {
  async function two() {
    const url = await databases.freshUrl()
    const one = await trustCore(await databases.open({ url }))
    const other = await trustCore(await databases.open({ url }), { clock: one.clock })
    return { one, other }
  }

  test('over the uplink brings a certificate for the new key, and the same one when it is asked for again', async () => {
    const { one, other } = await two()
    const gateway = await enrolled(one)
    const { csrDer } = await newRequest()
    const first = await one.renewals.renew(gateway, csrDer)
    expect(first).toMatchObject({ gatewayId: 'gw-1' })
    expect(keyOf(first.certificatePem)).not.toEqual(keyOf(gateway.certificatePem))
    expect(await other.renewals.renew(gateway, csrDer)).toEqual(first)
    expect(await one.certificates.list('gw-1')).toHaveLength(2)
  })

  test('of two with different keys at once, on two cores, brings one certificate', async () => {
    const { one, other } = await two()
    const gateway = await enrolled(one)
    const outcomes = await Promise.allSettled([
      one.renewals.renew(gateway, (await newRequest()).csrDer),
      other.renewals.renew(gateway, (await newRequest()).csrDer),
    ])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(await one.certificates.list('gw-1')).toHaveLength(2)
    one.clock.advance(60_000)
    await one.renewals.renew(gateway, (await newRequest()).csrDer)
  })

  test('is refused for a key that is not new, and to a gateway that was revoked', async () => {
    const core = await trustCore(await databases.open())
    const gateway = await enrolled(core)
    const second = await newRequest()
    await core.renewals.renew(gateway, second.csrDer)
    core.clock.advance(3_600_000)
    await expect(core.renewals.renew(gateway, second.csrDer)).rejects.toThrow('not a new one')
    const { csrDer } = await newRequest()
    const stranger = await enrolled(core, 'gw-2')
    await expect(core.renewals.renew(stranger, second.csrDer)).rejects.toThrow('not a new one')
    await core.certificates.revokeAll('gw-1', { reason: 'stolen', by: 'eve' })
    await expect(core.renewals.renew(gateway, csrDer)).rejects.toMatchObject({ code: 'CERTIFICATE_NOT_RENEWABLE' })
  })

  test('that is under way while its gateway is revoked on another core brings nothing that is still good', async () => {
    const url = await databases.freshUrl()
    const database = await databases.open({ url })
    const other = await trustCore(await databases.open({ url }))
    const { clock, sites } = other
    const gatewaySites = Object.create(sites, {
      given: {
        // Asked last, when the older certificate was found to be good.
        value: async (...asked: Parameters<typeof sites.given>) => {
          revoking ??= other.certificates.revokeAll('gw-1', { reason: 'stolen', by: 'eve' })
          await Promise.race([revoking, waitsForLock(database)])
          return sites.given(...asked)
        },
      },
    }) as typeof sites
    let revoking: Promise<number> | undefined
    const gateway = await enrolled(other)
    const one = await trustCore(database, { clock, gatewaySites })
    await one.renewals.renew(gateway, (await newRequest()).csrDer).catch(() => undefined)
    await revoking
    expect((await one.certificates.list('gw-1')).filter(({ revokedAtMs }) => revokedAtMs === null)).toEqual([])
  })

  test('of one that was made while the clock of the cloud was ahead works by its key, too', async () => {
    const core = await trustCore(await databases.open())
    core.clock.stepWall(100 * DAY_MS)
    const gateway = await enrolled(core)
    core.clock.stepWall(-100 * DAY_MS)
    const { certificatePem } = await core.renewals.recover(await recovery(core, gateway), ADDRESS)
    expect(new X509Certificate(certificatePem).validFromDate.getTime()).toBeLessThan(core.clock.wallMs())
  })

  test('of an expired certificate works by its key, within the grace time, from whichever core made the challenge', async () => {
    const { one, other } = await two()
    const gateway = await enrolled(one)
    one.clock.advance(119 * DAY_MS)
    const asked = await recovery(one, gateway)
    const first = await other.renewals.recover(asked, ADDRESS)
    expect(first).toMatchObject({ gatewayId: 'gw-1' })
    // Sent once more, by whoever, it brings what it brought.
    expect(await one.renewals.recover(asked, ADDRESS)).toEqual(first)
    expect(await one.certificates.list('gw-1')).toMatchObject([{ issuedFor: 'recovery' }, { issuedFor: 'enrolment' }])
    one.clock.advance(2 * DAY_MS)
    await expect(one.renewals.recover(await recovery(one, gateway), ADDRESS)).rejects.toMatchObject({
      code: 'CERTIFICATE_NOT_RENEWABLE',
    })
  })

  test('with a proof that proves nothing brings nothing', async () => {
    const core = await trustCore(await databases.open(), { attempts: { failuresMax: 100, windowMs: 60_000 } })
    const [gateway, other] = [await enrolled(core), await enrolled(core, 'gw-2')]
    const good = await recovery(core, gateway)
    const { csrPem, csrDer } = await newRequest()
    const challenge = core.renewals.challenge()
    const made = await core.authority.issuer.server(['gw-1'], DAY_MS, core.clock.wallMs())
    const tampered = `${good.challenge.slice(0, -1)}${good.challenge.endsWith('A') ? 'B' : 'A'}`
    const forged: [string, object][] = [
      ['another key', { signature: signedProof(other.key, good.challenge, Buffer.from(csrDer)) }],
      ['another request', { csrPem }],
      ['another challenge', { challenge }],
      ['a challenge of its own making', { challenge: '99999999999999.AAAAAAAAAAAAAAAAAAAAAA.AA' }],
      [
        'a challenge that was changed',
        { challenge: tampered, signature: signedProof(gateway.key, tampered, csrDer), csrPem },
      ],
      ['no signature', { signature: '' }],
      ["another gateway's certificate", { certificatePem: other.certificatePem }],
      [
        "a certificate of the authority that is nobody's",
        { certificatePem: made.cert, signature: signedProof(made.key, challenge, csrDer), challenge, csrPem },
      ],
      ['no certificate', { certificatePem: 'x' }],
    ]
    for (const [what, change] of forged) {
      await expect(core.renewals.recover({ ...good, ...change }, ADDRESS), what).rejects.toMatchObject({
        code: 'RENEWAL_PROOF_INVALID',
      })
    }
    expect(core.events.length).toBeGreaterThan(0)
    core.clock.advance(300_000)
    await expect(core.renewals.recover(good, ADDRESS)).rejects.toMatchObject({ code: 'RENEWAL_PROOF_INVALID' })
    expect(await core.certificates.list('gw-1')).toHaveLength(1)
    await expect(core.renewals.recover(await recovery(core, gateway), ADDRESS)).resolves.toBeDefined()
  })

  test('is never for what was revoked, and whoever tries often waits', async () => {
    const core = await trustCore(await databases.open())
    const gateway = await enrolled(core)
    const [certificate] = await core.certificates.list('gw-1')
    expect(await core.certificates.revoke('gw-2', certificate?.serial ?? '', { reason: '', by: 'eve' })).toBe(false)
    expect(await core.certificates.revoke('gw-1', certificate?.serial ?? '', { reason: 'stolen', by: 'eve' })).toBe(
      true,
    )
    expect(await core.certificates.list('gw-1')).toMatchObject([{ revokedReason: 'stolen', revokedBy: 'eve' }])
    await expect(core.renewals.recover(await recovery(core, gateway), ADDRESS)).rejects.toMatchObject({
      code: 'CERTIFICATE_NOT_RENEWABLE',
    })
    expect(core.events).toMatchObject([{ kind: 'gateway-certificate-revoked', subject: 'gw-1', address: ADDRESS }])
    const wrong = { ...(await recovery(core, gateway)), signature: 'x' }
    for (let i = 0; i < 5; i++) await expect(core.renewals.recover(wrong, ADDRESS)).rejects.toThrow('not valid')
    await expect(core.renewals.recover(wrong, ADDRESS)).rejects.toMatchObject({ refusal: 'TOO_MANY_REQUESTS' })
  })

  test('is refused to a gateway whose sites were taken', async () => {
    const database = await databases.open()
    const core = await trustCore(database)
    const gateway = await enrolled(core)
    await database.transaction((transaction) => core.sites.give('gw-1', [], transaction))
    await expect(core.renewals.renew(gateway, (await newRequest()).csrDer)).rejects.toThrow(
      'may not speak for any site',
    )
  })
})
