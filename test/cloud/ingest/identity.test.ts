import { credentials, status } from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import { INGEST_SERVER_NAME } from '../../../cloud/authority/authority.ts'
import { IngestReplay } from '../../../cloud/ingest/replay.ts'
import { Lane } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { type KeyPair, madeAuthority, newAuthority, newRequest } from '../../support/certificates.ts'
import { type IngestCore, ingestCore, type SecureOptions } from '../../support/ingest-core.ts'
import { type RawGateway, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const DAY_MS = 86_400_000

async function core(secure: SecureOptions = {}, more: Partial<Parameters<typeof ingestCore>[0]> = {}) {
  return ingestCore({ dir: await tempDir(), secure, ...more })
}

/** A core whose authority is known to the test too, so that anything can be signed. */
async function coreOf(secure: SecureOptions = {}) {
  const authority = await madeAuthority()
  const own = { certificates: authority.certificatePem, key: authority.keyPem }
  return { authority, ...(await core({ own, ...secure })) }
}

function dial({ port, trust }: IngestCore, certificate: KeyPair | null): RawGateway {
  const root = Buffer.from(trust.authority.issuer.anchorPem)
  const pair = certificate && ([certificate.key, certificate.cert].map((pem) => Buffer.from(pem)) as [Buffer, Buffer])
  return rawGateway(port, {
    credentials: pair === null ? credentials.createSsl(root) : credentials.createSsl(root, ...pair),
    channel: { 'grpc.ssl_target_name_override': INGEST_SERVER_NAME },
  })
}

const databaseFailure = (why: string) => new BusbarError(why, { code: 'DATABASE_UNAVAILABLE', retryable: true })

/** By a token, as a gateway does it. */
async function enrol({ trust }: IngestCore, gatewayId: string, siteIds = [1]): Promise<KeyPair & { csrPem: string }> {
  const { token } = await trust.enrolment.createToken({ gatewayId, siteIds, createdBy: 'eve' })
  const { key, csrPem } = await newRequest()
  const { certificatePem } = await trust.enrolment.redeem({ token, csrPem }, 'here')
  return { key, csrPem, cert: certificatePem }
}

async function refusal(gateway: RawGateway, gatewayId = 'gw-1') {
  gateway.hello({ gatewayId })
  await until(() => gateway.ended)
  return gateway.ended as { code: number; details: string }
}

describe('a gateway is let in', () => {
  test('with the certificate that it got for its token', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    gateway.block(wireBlock(1, ['{"n":1}']))
    await until(() => gateway.acknowledged().length === 1)
    expect(cloud.events).toEqual([])
  })

  test('with one from elsewhere once it has sites, and it is listed from then on', async () => {
    const theirs = newAuthority(await tempDir())
    const cloud = await core({ ca: theirs.ca })
    const certificate = theirs.issue('gw-1')
    const early = await refusal(dial(cloud, certificate))
    expect(early).toMatchObject({ code: status.PERMISSION_DENIED })
    expect(early.details).toContain('busbar-cloud gateway sites gw-1')
    await cloud.giveSites('gw-1', [1])
    await dial(cloud, certificate).admitted()
    const [listed] = await cloud.trust.certificates.list('gw-1')
    expect(listed).toMatchObject({ issuedFor: 'elsewhere', revokedAtMs: null })
    await cloud.trust.certificates.revoke('gw-1', listed?.serial ?? '', { reason: 'lost', by: 'eve' })
    expect(await refusal(dial(cloud, certificate))).toMatchObject({ code: status.UNAUTHENTICATED })
  })
})

describe('a gateway is not let in', () => {
  test('without a certificate, or with one that the handshake refuses, and it is counted', async () => {
    const cloud = await coreOf({ sites: { 'gw-1': [1] } })
    const { authority } = cloud
    const [stranger, sameName] = [await madeAuthority(), await madeAuthority(authority)]
    const now = Date.now()
    const strangers: (KeyPair | null)[] = [
      null,
      await stranger.gateway('gw-1'),
      await sameName.gateway('gw-1'),
      await authority.gateway('gw-1', { notBeforeMs: now - DAY_MS, notAfterMs: now - 1_000 }),
      await authority.gateway('gw-1', { notBeforeMs: now + DAY_MS, notAfterMs: now + 2 * DAY_MS }),
      // A certificate of the cloud itself is for servers.
      await cloud.trust.authority.listenerTls(),
    ]
    const gateways = strangers.map((certificate) => dial(cloud, certificate))
    for (const gateway of gateways) gateway.hello()
    await until(() => gateways.every(({ ended }) => ended !== null))
    for (const { ended } of gateways) expect(ended).toMatchObject({ code: status.UNAVAILABLE })
    await until(() => Object.keys(cloud.ingest.stats().handshakesFailed).length >= 5)
    expect(cloud.events.map(({ kind }) => kind)).toContain('gateway-certificate-refused')
    expect(cloud.gateways.connectedCount).toBe(0)
  })

  test('with one from elsewhere whose authority does not count any more, though its root still does', async () => {
    const theirs = newAuthority(await tempDir())
    const certificate = theirs.issue('gw-1')
    const cloud = await core({ ca: theirs.ca, sites: { 'gw-1': [1] } })
    await dial(cloud, certificate).admitted()
    const { authority } = cloud.trust
    const signers = authority.signers()
    authority.signers = () => ({ ...signers, elsewhere: [] })
    expect((await refusal(dial(cloud, certificate))).details).toContain('does not sign for gateways')
  })

  test('as another gateway than its certificate says, and the other one goes on', async () => {
    const cloud = await core()
    const [right, wrong] = [await enrol(cloud, 'gw-1'), await enrol(cloud, 'gw-2')]
    const gateway = dial(cloud, right)
    await gateway.admitted()
    const refused = await refusal(dial(cloud, wrong), 'gw-1')
    expect(refused).toMatchObject({ code: status.PERMISSION_DENIED })
    expect(refused.details).toContain('the certificate is for gw-2')
    expect(cloud.events).toMatchObject([{ kind: 'gateway-impersonated', subject: 'gw-2' }])
    gateway.block(wireBlock(1, ['{}']))
    await until(() => gateway.acknowledged().length === 1)
  })

  test('with a certificate of the authority that the cloud never issued', async () => {
    const cloud = await coreOf({ sites: { 'gw-1': [1] } })
    const refused = await refusal(dial(cloud, await cloud.authority.gateway('gw-1')))
    expect(refused).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(refused.details).toContain('never issued')
    expect(cloud.events).toMatchObject([{ kind: 'gateway-certificate-revoked', subject: 'gw-1' }])
  })

  test('with a certificate that was revoked, and administrators are told', async () => {
    const cloud = await core()
    const certificate = await enrol(cloud, 'gw-1')
    await cloud.trust.certificates.revokeAll('gw-1', { reason: 'stolen', by: 'eve' })
    expect(await refusal(dial(cloud, certificate))).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(cloud.events).toMatchObject([{ kind: 'gateway-certificate-revoked', subject: 'gw-1', address: '127.0.0.1' }])
  })
})

describe('a stream that is open', () => {
  test('ends when its certificate is revoked, on whichever core, and those of others go on', async () => {
    const dir = await tempDir()
    const databaseUrl = `sqlite:${dir}/shared.db`
    const secure = { recheckMs: 100 }
    const one = await ingestCore({ dir: await tempDir(), databaseUrl, secure })
    const other = await ingestCore({ dir: await tempDir(), databaseUrl, secure })
    const [first, second] = [dial(one, await enrol(one, 'gw-1')), dial(one, await enrol(other, 'gw-2'))]
    await first.admitted()
    await second.admitted({ gatewayId: 'gw-2' })
    const [certificate] = await other.trust.certificates.list('gw-1')
    await other.trust.certificates.revoke('gw-1', certificate?.serial ?? '', { reason: 'stolen', by: 'eve' })
    await until(() => first.ended)
    expect(first.ended).toMatchObject({ code: status.UNAUTHENTICATED, details: expect.stringContaining('revoked') })
    expect(second.ended).toBeNull()
  })

  test('ends when its certificate does', async () => {
    const clock = { ...systemClock }
    const cloud = await core({ recheckMs: 100, clock })
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    clock.wallMs = () => Date.now() + 90 * DAY_MS
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.UNAUTHENTICATED, details: expect.stringContaining('ended on') })
  })

  test('goes on while nobody can tell', async () => {
    const cloud = await core({ recheckMs: 50 })
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    const asked: unknown[] = []
    cloud.trust.identities.recheck = (identities) => {
      asked.push(identities)
      return Promise.reject(new Error('the database is away'))
    }
    await until(() => asked.length > 2)
    expect(gateway.ended).toBeNull()
  })

  test('gets its next certificate, with which the gateway comes again, and one at a time', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    const answers = () =>
      gateway.responses.flatMap(({ message }) => (message?.$case === 'certificateAnswer' ? [message.value] : []))
    const next = await newRequest()
    for (const csrDer of [next.csrDer, (await newRequest()).csrDer, Buffer.from('nonsense')]) {
      gateway.send({ $case: 'certificateRequest', value: { csrDer: Buffer.from(csrDer) } })
    }
    await until(() => answers().length === 3)
    const given = answers().filter(({ certificatePem }) => certificatePem !== '')
    expect(given).toHaveLength(1)
    expect(given[0]?.authorityPem).toBe(cloud.trust.authority.issuer.anchorPem)
    expect(gateway.ended).toBeNull()
    await dial(cloud, { cert: given[0]?.certificatePem ?? '', key: next.key }).admitted()
  })

  test('is told why it gets none when that will last, and only to ask again when it may pass', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    const ask = async (csrDer: Uint8Array): Promise<string | undefined> => {
      gateway.responses.length = 0
      gateway.send({ $case: 'certificateRequest', value: { csrDer: Buffer.from(csrDer) } })
      await until(() => gateway.responses.some(({ message }) => message?.$case === 'certificateAnswer'))
      const message = gateway.responses.at(-1)?.message
      return message?.$case === 'certificateAnswer' && message.value.certificatePem === ''
        ? message.value.refusal
        : undefined
    }
    expect(await ask(Buffer.from('nonsense'))).toContain('it cannot be read')
    expect(await ask((await newRequest()).csrDer)).toBeUndefined()
    // Another one within the minute.
    expect(await ask((await newRequest()).csrDer)).toBe('')
    cloud.trust.renewals.renew = () => Promise.reject(databaseFailure('is away'))
    expect(await ask((await newRequest()).csrDer)).toBe('')
  })

  test('ends when it asks for certificates without end', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    for (let i = 0; i < 500; i++) gateway.send({ $case: 'certificateRequest', value: { csrDer: Buffer.from('x') } })
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED })
    expect(gateway.responses.length).toBeLessThan(50)
  })

  test('gets no certificate where gateways need none', async () => {
    const { port } = await ingestCore({ dir: await tempDir() })
    const gateway = rawGateway(port)
    await gateway.admitted()
    gateway.send({ $case: 'certificateRequest', value: { csrDer: Buffer.from('x') } })
    await until(() => gateway.responses.some(({ message }) => message?.$case === 'certificateAnswer'))
    expect(gateway.responses.at(-1)?.message).toMatchObject({ value: { certificatePem: '', authorityPem: '' } })
  })
})

describe('a gateway speaks for its own sites', () => {
  test('what it says of others is a dead letter, registers nothing there and keeps nothing up', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1', [1, 2]))
    await gateway.admitted()
    gateway.block(wireBlock(1, ['{"n":1}'], { topic: 'sites/3/devices/INV-1/telemetry' }))
    gateway.block(wireBlock(1, ['{"status":"ONLINE"}'], { topic: 'sites/3/devices/INV-1/status', lane: Lane.PRIORITY }))
    gateway.block(wireBlock(2, ['{"n":2}'], { topic: 'sites/2/devices/INV-1/telemetry' }))
    await until(() => cloud.ingest.stats().recordsPublished === 3)
    const reader = await readTopics(cloud.bus, ['device-telemetry', 'device-telemetry-dlt', 'device-status-dlt'])
    await until(() => reader.records.length === 3)
    const dead = reader.records.filter(({ topic }) => topic.endsWith('-dlt'))
    for (const { value } of dead) expect(JSON.parse(String(value)).error.code).toBe('SITE_NOT_ALLOWED')
    expect(cloud.ingest.stats().deadLettered).toEqual({ SITE_NOT_ALLOWED: 2 })
    expect(await cloud.registry.devices.find([{ siteId: 3, serialNumber: 'INV-1' }])).toEqual([])
    expect(cloud.events).toMatchObject([{ kind: 'site-foreign', subject: 'gw-1' }, { kind: 'site-foreign' }])
  })

  test('what was given up so is taken in by a replay once the gateway has the site, and no sooner', async () => {
    const { registry, giveSites } = await core({ sites: { 'gw-1': [1] } })
    const { gatewaySites } = registry
    const replay = new IngestReplay({ registry, gatewaySites, autoRegister: true, clock: systemClock })
    const origin = { gateway: 'gw-1', epoch: 'e', seq: '7', receivedAt: '2026-01-02T03:04:05Z' }
    const letter = {
      originalTopic: 'device-telemetry',
      key: 'INV-1',
      headers: { ...origin, mqttTopic: 'sites/3/devices/INV-1/telemetry' },
      payload: Buffer.from('{"n":1}'),
    }
    expect(await replay.tryIntake(letter, { dryRun: false })).toMatchObject({ code: 'SITE_NOT_ALLOWED' })
    expect(await registry.devices.find([{ siteId: 3, serialNumber: 'INV-1' }])).toEqual([])
    await giveSites('gw-1', [1, 3])
    expect(await replay.tryIntake(letter, { dryRun: false })).toMatchObject({ records: [{}] })
  })

  test('answers for commands of other sites are not believed', async () => {
    const cloud = await core()
    const gateway = dial(cloud, await enrol(cloud, 'gw-1'))
    await gateway.admitted()
    const answer = JSON.stringify({ commandId: 'cmd-1', status: 'SUCCESS' })
    gateway.block(wireBlock(1, [answer], { topic: 'sites/3/devices/INV-1/responses', lane: Lane.PRIORITY }))
    await until(() => gateway.acknowledged().length === 1)
    expect(cloud.ingest.stats()).toMatchObject({ commandReports: 0, deadLettered: { SITE_NOT_ALLOWED: 1 } })
  })

  test('a change of them counts on its open stream; when all are taken the stream ends', async () => {
    const cloud = await core({ recheckMs: 50 })
    const gateway = dial(cloud, await enrol(cloud, 'gw-1', [1]))
    await gateway.admitted()
    await cloud.giveSites('gw-1', [3])
    let sequence = 0
    await until(() => {
      gateway.block(wireBlock(++sequence, ['{}'], { topic: 'sites/3/devices/INV-1/telemetry' }))
      return cloud.ingest.stats().recordsPublished > (cloud.ingest.stats().deadLettered['SITE_NOT_ALLOWED'] ?? 0)
    })
    await cloud.giveSites('gw-1', [])
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringContaining('any site'),
    })
  })
})
