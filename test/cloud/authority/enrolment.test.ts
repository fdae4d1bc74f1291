import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { certificatesIn } from '../../../shared/certificates.ts'
import { newRequest } from '../../support/certificates.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { trustCore } from '../../support/gateway-trust.ts'

const HOUR_MS = 3_600_000
const ADDRESS = '192.0.2.7'

await describeOnEveryDatabase('enrolment', (databases) => {
  /** Two cores of one cloud. */
  async function two() {
    const url = await databases.freshUrl()
    const one = await trustCore(await databases.open({ url }))
    const other = await trustCore(await databases.open({ url }), { clock: one.clock })
    return { one, other }
  }

  test('a token gives a certificate for its gateway and for nobody else, whatever the request says', async () => {
    const database = await databases.open()
    const core = await trustCore(database, { ingestAddress: 'cloud.example:7443' })
    const { csrPem } = await newRequest('gw-of-somebody-else')
    const answer = await core.enrolment.redeem({ token: await core.token(), csrPem }, ADDRESS)
    const certificate = new X509Certificate(answer.certificatePem)
    expect(certificate.subject).toBe('CN=gw-1')
    expect(certificate.subjectAltName).toBe('URI:urn:busbar:gateway:gw-1')
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect(certificate.ca).toBe(false)
    expect(certificate.verify(core.authority.issuer.anchor.publicKey)).toBe(true)
    expect(answer).toMatchObject({
      gatewayId: 'gw-1',
      ingestAddress: 'cloud.example:7443',
      serverName: 'ingest.busbar.internal',
      notAfterMs: certificate.validToDate.getTime(),
    })
    expect(certificatesIn(answer.authorityPem).map((each) => each.fingerprint256)).toEqual([
      core.authority.issuer.anchor.fingerprint256,
    ])
    const days = (answer.notAfterMs - core.clock.wallMs()) / (24 * HOUR_MS)
    expect(days).toBeCloseTo(90, 1)
    expect(await core.certificates.list('gw-1')).toMatchObject([{ issuedFor: 'enrolment', revokedAtMs: null }])
  })

  test('the secret of a token is in the answer only, and the token names the authority', async () => {
    const database = await databases.open()
    const core = await trustCore(database)
    const { token, stored } = await core.enrolment.createToken({ gatewayId: 'gw-1', siteIds: [1], createdBy: 'eve' })
    const [prefix, id, secret = '', fingerprint] = token.split('.')
    expect([prefix, id]).toEqual(['bbe', stored.id])
    expect(fingerprint).toBe(
      Buffer.from(core.authority.issuer.anchor.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url'),
    )
    const rows = await database.kysely.selectFrom('enrolment_tokens').selectAll().execute()
    expect(JSON.stringify([rows, await core.enrolment.listTokens('gw-1')])).not.toContain(secret)
  })

  test('of two that redeem it at once one wins, the other is told, and both addresses are noted', async () => {
    const { one, other } = await two()
    const token = await one.token()
    const requests = await Promise.all([newRequest(), newRequest()])
    const outcomes = await Promise.allSettled([
      one.enrolment.redeem({ token, csrPem: requests[0].csrPem }, '192.0.2.1'),
      other.enrolment.redeem({ token, csrPem: requests[1].csrPem }, '192.0.2.2'),
    ])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const lost = outcomes.find((outcome) => outcome.status === 'rejected')
    expect(lost?.reason).toMatchObject({ code: 'ENROLMENT_TOKEN_USED', refusal: 'CONFLICT' })
    const events = [...one.events, ...other.events]
    expect(events).toMatchObject([{ kind: 'enrolment-token-reused', subject: 'gw-1' }])
    expect(events[0]?.detail).toContain('192.0.2.1')
    expect(events[0]?.detail).toContain('192.0.2.2')
    expect(await one.certificates.list('gw-1')).toHaveLength(1)
  })

  test('the same key gets the same certificate again while the token is good, from whichever core', async () => {
    const { one, other } = await two()
    const token = await one.token()
    const { csrPem } = await newRequest()
    const [first, again] = await Promise.all([
      one.enrolment.redeem({ token, csrPem }, ADDRESS),
      other.enrolment.redeem({ token, csrPem }, ADDRESS),
    ])
    expect(again).toEqual(first)
    expect(await other.enrolment.redeem({ token, csrPem }, ADDRESS)).toEqual(first)
    expect([...one.events, ...other.events]).toEqual([])
    one.clock.advance(24 * HOUR_MS)
    await expect(one.enrolment.redeem({ token, csrPem }, ADDRESS)).rejects.toMatchObject({
      code: 'ENROLMENT_TOKEN_EXPIRED',
    })
  })

  test('a token that expired, was taken back or never was gives nothing', async () => {
    const core = await trustCore(await databases.open())
    const { csrPem } = await newRequest()
    const { token, stored } = await core.enrolment.createToken({ gatewayId: 'gw-1', siteIds: [1], createdBy: 'eve' })
    expect(await core.enrolment.revokeToken('gw-2', stored.id)).toBe(false)
    expect(await core.enrolment.revokeToken('gw-1', stored.id)).toBe(true)
    const wrong = [token, token.replace(/.$/, 'x'), token.replace(stored.id, '0123456789abcdef'), 'bbe.x', '']
    for (const each of wrong) {
      await expect(core.enrolment.redeem({ token: each, csrPem }, each)).rejects.toMatchObject({
        code: 'ENROLMENT_TOKEN_INVALID',
      })
    }
    expect(core.events.map(({ kind }) => kind)).toEqual(wrong.map(() => 'enrolment-token-refused'))
    const short = await core.enrolment.createToken({ gatewayId: 'gw-1', expiresInHours: 1, createdBy: 'eve' })
    core.clock.advance(HOUR_MS)
    await expect(core.enrolment.redeem({ token: short.token, csrPem }, ADDRESS)).rejects.toMatchObject({
      code: 'ENROLMENT_TOKEN_EXPIRED',
    })
  })

  test('whoever guesses waits, by network, and others do not', async () => {
    const core = await trustCore(await databases.open())
    const right = { token: await core.token(), csrPem: (await newRequest()).csrPem }
    const guess = (from: string) => core.enrolment.redeem({ ...right, token: `bbe.${'0'.repeat(16)}` }, from)
    for (let i = 1; i <= 5; i++) await expect(guess(`2001:db8::${i}`)).rejects.toMatchObject({ refusal: 'FORBIDDEN' })
    await expect(core.enrolment.redeem(right, '2001:db8::ffff')).rejects.toMatchObject({
      refusal: 'TOO_MANY_REQUESTS',
      retryAfter: 60,
    })
    await expect(core.enrolment.redeem(right, '2001:db8:0:1::1')).resolves.toMatchObject({ gatewayId: 'gw-1' })
    core.clock.advance(60_000)
    await expect(guess('2001:db8::1')).rejects.toMatchObject({ refusal: 'FORBIDDEN' })
  })

  test('a request that is none, or not signed by its key, costs the token nothing', async () => {
    const core = await trustCore(await databases.open())
    const token = await core.token()
    const { csrPem, csrDer } = await newRequest()
    const changed = Buffer.from(csrDer)
    changed[changed.length - 1] = (changed.at(-1) as number) ^ 1
    const asPem = (der: Uint8Array) =>
      `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE REQUEST-----`
    for (const wrong of ['', 'x', asPem(Buffer.from('x')), asPem(changed), asPem(Buffer.alloc(5_000, 48))]) {
      await expect(core.enrolment.redeem({ token, csrPem: wrong }, ADDRESS)).rejects.toMatchObject({
        code: 'CERTIFICATE_REQUEST_REFUSED',
      })
    }
    await expect(core.enrolment.redeem({ token, csrPem }, ADDRESS)).resolves.toMatchObject({ gatewayId: 'gw-1' })
  })

  test('a key of another gateway, or one that was revoked, is not certified, and the token stays good', async () => {
    const core = await trustCore(await databases.open())
    const request = await newRequest()
    await core.enrolment.redeem({ token: await core.token('gw-1'), csrPem: request.csrPem }, ADDRESS)
    const token = await core.token('gw-2')
    const refused = { code: 'CERTIFICATE_REQUEST_REFUSED' }
    await expect(core.enrolment.redeem({ token, csrPem: request.csrPem }, ADDRESS)).rejects.toMatchObject(refused)
    await core.certificates.revokeAll('gw-1', { reason: 'stolen', by: 'eve' })
    const anew = await core.token('gw-1')
    await expect(core.enrolment.redeem({ token: anew, csrPem: request.csrPem }, ADDRESS)).rejects.toMatchObject(refused)
    const { csrPem } = await newRequest()
    await expect(core.enrolment.redeem({ token, csrPem }, ADDRESS)).resolves.toMatchObject({ gatewayId: 'gw-2' })
  })

  test('a token does not give the sites that were added since it was made', async () => {
    const core = await trustCore(await databases.open())
    const token = await core.token()
    const { csrPem } = await newRequest('gw-1')
    await core.certificates.giveSites('gw-1', [1, 2])
    await expect(core.enrolment.redeem({ token, csrPem }, ADDRESS)).rejects.toMatchObject({
      code: 'ENROLMENT_TOKEN_INVALID',
    })
    const anew = await core.token()
    await core.certificates.giveSites('gw-1', [1])
    expect(await core.enrolment.redeem({ token: anew, csrPem }, ADDRESS)).toMatchObject({ gatewayId: 'gw-1' })
  })

  test('revoking a gateway takes its open tokens too', async () => {
    const core = await trustCore(await databases.open())
    const token = await core.token()
    await core.certificates.revokeAll('gw-1', { reason: 'stolen', by: 'eve' })
    const { csrPem } = await newRequest()
    await expect(core.enrolment.redeem({ token, csrPem }, ADDRESS)).rejects.toMatchObject({
      code: 'ENROLMENT_TOKEN_INVALID',
    })
  })

  describe('making a token', () => {
    test('registers a gateway that is new with its sites, and leaves those of an older one', async () => {
      const database = await databases.open()
      const core = await trustCore(database)
      const make = (siteIds?: number[]) => core.enrolment.createToken({ gatewayId: 'gw-1', siteIds, createdBy: 'eve' })
      await expect(make()).rejects.toMatchObject({ code: 'GATEWAY_WITHOUT_SITES' })
      expect(await core.sites.of('gw-1')).toBeNull()
      await make([3, 1])
      await make()
      expect(await core.sites.given('gw-1')).toEqual([1, 3])
      await make([2])
      expect(await core.sites.given('gw-1')).toEqual([2])
    })

    test('refuses an id with which nobody is admitted, and more tokens than anybody needs', async () => {
      const core = await trustCore(await databases.open())
      const make = (gatewayId: string) => core.enrolment.createToken({ gatewayId, siteIds: [1], createdBy: 'eve' })
      await expect(make('a:b')).rejects.toMatchObject({ code: 'REGISTRATION_INVALID' })
      for (let i = 0; i < 20; i++) await make('gw-1')
      await expect(make('gw-1')).rejects.toMatchObject({ code: 'ENROLMENT_TOKENS_MAX' })
      core.clock.advance(24 * HOUR_MS)
      await make('gw-1')
    })
  })
})
