import { existsSync, statSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { enrollGateway } from '../../../edge/identity/enroll.ts'
import { IdentityFile } from '../../../edge/identity/identity-file.ts'
import { gatewayCredentials } from '../../../edge/identity/uplink-credentials.ts'
import type { Clock } from '../../../shared/clock.ts'
import { systemClock } from '../../../shared/clock.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { CLOUD_NAME, type EnrolmentCloud, enrolmentCloud } from '../../support/enrolment-cloud.ts'
import { makeAuthority, usualDates } from '../../support/made-certificates.ts'
import { fillDisk, smallDisk, testWithSmallDisk } from '../../support/small-disk.ts'
import { tempDir } from '../../support/temp-dir.ts'

interface Enrolling {
  dir?: string
  token?: string
  url?: string
  gatewayId?: string
  apiAuthority?: string | null
  replace?: boolean
  clock?: Clock
}

async function enroll(cloud: EnrolmentCloud, changes: Enrolling = {}) {
  const { dir = join(await tempDir(), 'identity'), ...others } = changes
  const file = new IdentityFile(dir)
  const enrolment = await enrollGateway({
    file,
    gatewayId: 'gw-1',
    url: cloud.url,
    token: cloud.token(),
    apiAuthority: null,
    replace: false,
    clock: systemClock,
    ...others,
  })
  return { ...enrolment, file, dir }
}

describe('a token', () => {
  test('becomes an identity that the uplink dials with, and that nobody else can read', async () => {
    const cloud = await enrolmentCloud()
    const { identity, file, dir, clockIsWrong } = await enroll(cloud)
    expect(clockIsWrong).toBe(false)
    expect(identity.certificate).toBe(cloud.issued[0])
    const settings = { address: '', insecure: false, tls: { caFile: '', certFile: '', keyFile: '', serverName: '' } }
    const { cert, key, ca, serverName } = gatewayCredentials('gw-1', dir, settings).target().tls ?? {}
    expect({ cert, key, ca, serverName }).toEqual({
      cert: identity.certificate,
      key: identity.privateKey,
      ca: cloud.authority.ca,
      serverName: CLOUD_NAME,
    })
    expect(statSync(dir).mode & 0o777).toBe(0o700)
    expect(statSync(file.path).mode & 0o777).toBe(0o600)
    expect(existsSync(join(dir, 'pending-key.json'))).toBe(false)
  })

  test('is not needed twice: a second enrolment is refused unless it is to replace the first', async () => {
    const cloud = await enrolmentCloud()
    const { dir, identity } = await enroll(cloud)
    await expect(enroll(cloud, { dir })).rejects.toMatchObject({ code: 'IDENTITY_EXISTS' })
    expect(cloud.issued).toHaveLength(1)
    const replaced = await enroll(cloud, { dir, replace: true })
    expect(replaced.identity.privateKey).not.toBe(identity.privateKey)
  })

  test('whose answer was lost is good again, for the same key and the same certificate', async () => {
    const cloud = await enrolmentCloud()
    const [dir, token] = [join(await tempDir(), 'identity'), cloud.token()]
    cloud.set.loseAnswers = true
    await expect(enroll(cloud, { dir, token })).rejects.toMatchObject({ code: 'ENROLMENT_BUSY', retryable: true })
    cloud.set.loseAnswers = false
    expect((await enroll(cloud, { dir, token })).identity.certificate).toBe(cloud.issued[0])
    expect(cloud.issued).toHaveLength(1)
    // Somewhere else there is another key, and the token is spent.
    await expect(enroll(cloud, { token })).rejects.toMatchObject({
      code: 'ENROLMENT_TOKEN_USED',
      hint: expect.stringContaining('revoke'),
    })
  })

  test('for another gateway is told by name, and good once gateway.id is right', async () => {
    const cloud = await enrolmentCloud()
    const [dir, token] = [join(await tempDir(), 'identity'), cloud.token('gw-2')]
    const wrong = enroll(cloud, { dir, token })
    await expect(wrong).rejects.toMatchObject({ code: 'GATEWAY_ID_DIFFERS', hint: expect.stringContaining('gw-2') })
    expect((await enroll(cloud, { dir, token, gatewayId: 'gw-2' })).identity.gatewayId).toBe('gw-2')
  })

  test.each([
    [403, 'ENROLMENT_TOKEN_EXPIRED', 'ENROLMENT_TOKEN_EXPIRED'],
    [403, 'ENROLMENT_TOKEN_INVALID', 'ENROLMENT_TOKEN_INVALID'],
    [429, 'TOO_MANY_REQUESTS', 'ENROLMENT_BUSY'],
    [503, 'UNAVAILABLE', 'ENROLMENT_BUSY'],
    [409, 'AUTHORITY_CANNOT_ISSUE', 'ENROLMENT_REFUSED'],
    [404, 'NOT_FOUND', 'ENROLMENT_NOT_UNDERSTOOD'],
  ])('that the cloud answers with %s %s is told as %s, with what to do', async (status, code, told) => {
    const cloud = await enrolmentCloud()
    cloud.set.problem = { status, code, detail: 'so \u001b[31mit is' }
    const error = await enroll(cloud).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: told, hint: expect.any(String) })
    expect(String(error)).not.toContain('\u001b')
  })

  test.each(['', 'bbe.t1', 'bbe.t1.short.x', `bbe.t1.${'s'.repeat(43)}.${'f'.repeat(42)}`])(
    'that is none (%j) is not sent anywhere, nor shown',
    async (token) => {
      const cloud = await enrolmentCloud()
      const error = await enroll(cloud, { token }).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'ENROLMENT_TOKEN_MALFORMED' })
      if (token !== '') expect(JSON.stringify(error) + String(error)).not.toContain(token)
      expect(cloud.asked).toEqual([])
    },
  )
})

describe('somebody in between', () => {
  test('who shows an authority of their own gets no token', async () => {
    const cloud = await enrolmentCloud()
    cloud.set.shownAuthority = await makeAuthority('attacker')
    await expect(enroll(cloud)).rejects.toMatchObject({ code: 'AUTHORITY_MISMATCH' })
    expect(cloud.asked).toEqual(['/api/v1/enrolment/authority'])
  })

  test('who repeats the true authority but has a certificate of another gets no token', async () => {
    const attacker = await makeAuthority('attacker')
    const cloud = await enrolmentCloud({ server: await attacker.server([CLOUD_NAME, '127.0.0.1']) })
    await expect(enroll(cloud)).rejects.toMatchObject({ code: 'ENROLMENT_TLS_UNTRUSTED' })
    expect(cloud.asked).toEqual(['/api/v1/enrolment/authority'])
  })

  test('who has the certificate of a gateway, or one for another name, gets no token', async () => {
    const authority = await makeAuthority()
    for (const [server, code] of [
      [await authority.gateway('gw-9'), 'ENROLMENT_TLS_UNTRUSTED'],
      [await authority.server(['elsewhere.example']), 'ENROLMENT_TLS_WRONG_NAME'],
    ] as const) {
      const cloud = await enrolmentCloud({ authority, server })
      await expect(enroll(cloud)).rejects.toMatchObject({ code })
      expect(cloud.asked).not.toContain('/api/v1/enrolment')
    }
  })

  test('who answers with a certificate that another authority signed is not believed', async () => {
    const cloud = await enrolmentCloud()
    cloud.set.signer = await makeAuthority('attacker')
    const { dir } = { dir: join(await tempDir(), 'identity') }
    await expect(enroll(cloud, { dir })).rejects.toMatchObject({ code: 'CERTIFICATE_ANSWER_WRONG' })
    expect(new IdentityFile(dir).read()).toBeNull()
  })
})

describe('the API', () => {
  test.each(['http://cloud.example', 'cloud.example', 'https://user:pw@cloud.example', 'ftp://cloud.example'])(
    'is not asked at %s',
    async (url) => {
      const cloud = await enrolmentCloud()
      await expect(enroll(cloud, { url })).rejects.toMatchObject({ code: 'ENROLMENT_URL_INVALID' })
    },
  )

  test('without TLS is for loopback only', async () => {
    const cloud = await enrolmentCloud({ plain: true })
    expect((await enroll(cloud)).identity.gatewayId).toBe('gw-1')
  })

  test('behind a private certificate is trusted by a file', async () => {
    const proxy = await makeAuthority('proxy')
    const cloud = await enrolmentCloud({ server: await proxy.server(['127.0.0.1']) })
    await expect(enroll(cloud)).rejects.toMatchObject({ code: 'ENROLMENT_TLS_UNTRUSTED' })
    expect((await enroll(cloud, { apiAuthority: proxy.ca })).identity.apiAuthority).toBe(proxy.ca)
  })

  test('that is not there is told, and that the token is still good', async () => {
    const cloud = await enrolmentCloud()
    await expect(enroll(cloud, { url: 'https://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'ENROLMENT_UNREACHABLE',
      hint: expect.stringContaining('still good'),
    })
  })

  test('that is mistaken for the ingest is told apart from a gateway that was revoked', async () => {
    const cloud = await enrolmentCloud()
    const pair = await cloud.authority.server(['127.0.0.1'])
    const ingest = createServer({ ...pair, ca: cloud.authority.ca, requestCert: true })
    await new Promise<void>((listening) => ingest.listen(0, '127.0.0.1', listening))
    onTestFinished(() => void ingest.close())
    const { port } = ingest.address() as AddressInfo
    await expect(enroll(cloud, { url: `https://127.0.0.1:${port}` })).rejects.toMatchObject({
      code: 'ENROLMENT_TLS_REFUSED',
      hint: expect.stringContaining('another port than the ingest'),
    })
  })
})

test('a wrong clock is told, and does not keep the identity from being stored', async () => {
  const cloud = await enrolmentCloud()
  cloud.set.dates = usualDates(Date.now() + 400 * DAY_MS)
  const { clockIsWrong, file } = await enroll(cloud)
  expect(clockIsWrong).toBe(true)
  expect(file.read()).not.toBeNull()
})

testWithSmallDisk('a full disk costs no token: the same one does when there is room again', async () => {
  const cloud = await enrolmentCloud()
  const [disk, token] = [await smallDisk(), cloud.token()]
  const dir = join(disk, 'identity')
  // The key finds room, and nothing else does.
  new IdentityFile(dir).writePending({ tokenId: 'other', privateKey: '' })
  const makeRoom = fillDisk(disk)
  await expect(enroll(cloud, { dir, token })).rejects.toMatchObject({ code: 'IDENTITY_NOT_WRITTEN' })
  makeRoom()
  expect((await enroll(cloud, { dir, token })).identity.gatewayId).toBe('gw-1')
  expect(cloud.issued).toHaveLength(1)
})
