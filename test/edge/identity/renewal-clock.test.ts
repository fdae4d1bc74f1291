import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { IssuedCertificate } from '../../../edge/identity/certificates.ts'
import { IdentityFile } from '../../../edge/identity/identity-file.ts'
import { CertificateRenewal } from '../../../edge/identity/renewal.ts'
import { DAY_MS, HOUR_MS } from '../../../shared/durations.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { identityOf } from '../../support/enrolled-gateway.ts'
import { type MadeAuthority, makeAuthority } from '../../support/made-certificates.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const BEGIN = Date.UTC(2026, 0, 1)
const LIFE = 90 * DAY_MS

let authority: MadeAuthority
beforeAll(async () => {
  authority = await makeAuthority()
})

/** A renewal with a clock that stands still, and an uplink that only counts. */
async function renewing(startMs: number, answer: (csr: Buffer) => Promise<IssuedCertificate>) {
  const clock = new ManualClock(startMs)
  const uplink = {
    connected: true,
    lastErrorCode: null as string | null,
    cloudWallMs: null as number | null,
    asked: 0,
    stats: () => uplink,
    requestCertificate: (csr: Buffer) => {
      uplink.asked++
      return answer(csr)
    },
  }
  const file = new IdentityFile(join(await tempDir(), 'identity'))
  const old = await authority.gateway('gw-1', { notBeforeMs: BEGIN, notAfterMs: BEGIN + LIFE })
  file.write(identityOf(authority, old))
  const random = seededRandom(7)
  const renewal = new CertificateRenewal({ file, gatewayId: 'gw-1', uplink, clock, random, log: silentLogger })
  await renewal.start()
  /** Moves the clock, and waits for what that set off. */
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms)
    await until(() => !renewal.stats().underWay)
  }
  /** As `advance` by a few seconds, with so much more on the calendar. */
  const later = (ms: number): Promise<void> => {
    clock.stepWall(ms)
    return advance(4_000)
  }
  await until(() => !renewal.stats().underWay)
  return { clock, uplink, file, renewal, advance, later }
}

const refused = () => Promise.reject(new BusbarError('not today', { code: 'CERTIFICATE_REFUSED' }))
const away = () => Promise.reject(new BusbarError('cut', { code: 'CERTIFICATE_UNANSWERED', retryable: true }))

describe('a certificate', () => {
  test('is asked for anew between two thirds and seven tenths of its life, and not before', async () => {
    const { uplink, later, renewal } = await renewing(BEGIN + HOUR_MS, refused)
    await later((LIFE * 2) / 3 - 2 * HOUR_MS)
    expect(uplink.asked).toBe(0)
    const { renewAtMs } = renewal.stats()
    expect(renewAtMs).toBeGreaterThanOrEqual(BEGIN + (LIFE * 2) / 3)
    expect(renewAtMs).toBeLessThan(BEGIN + LIFE * 0.7)
    await later(LIFE / 30 + 2 * HOUR_MS)
    expect(uplink.asked).toBe(1)
  })

  test('that is refused is asked for again after hours, not after minutes', async () => {
    const { uplink, advance, renewal, file } = await renewing(BEGIN + LIFE * 0.75, refused)
    expect(renewal.stats()).toMatchObject({ refused: true, lastError: 'not today' })
    await advance(59 * 60_000)
    expect(uplink.asked).toBe(1)
    await advance(6 * HOUR_MS)
    expect(uplink.asked).toBe(2)
    expect(file.read()?.certificate).toBeDefined()
  })

  test('whose request was cut off is asked for again after a minute, then more slowly', async () => {
    const { uplink, advance } = await renewing(BEGIN + LIFE * 0.75, away)
    await advance(59_000)
    expect(uplink.asked).toBe(1)
    await advance(4_000)
    expect(uplink.asked).toBe(2)
    for (let minute = 0; minute < 24 * 60; minute++) await advance(60_000)
    expect(uplink.asked).toBeLessThan(200)
    expect(uplink.asked).toBeGreaterThan(20)
  })

  test('is not asked for without a connection, and over the API only once the uplink failed', async () => {
    const { uplink, advance, later, renewal } = await renewing(BEGIN + LIFE * 0.75, refused)
    uplink.connected = false
    const askedBefore = uplink.asked
    await later(LIFE)
    await advance(7 * HOUR_MS)
    // Expired by the clock here, but nobody has tried yet whether the cloud takes it.
    expect(uplink.asked).toBe(askedBefore)
    expect(renewal.stats().lastError).toBe('not today')
    uplink.lastErrorCode = 'UPLINK_CERTIFICATE_DATES'
    await advance(7 * HOUR_MS)
    expect(renewal.stats().lastError).toContain('does not answer at https://127.0.0.1:1')
  })

  test.each([
    ['in 1970', 0],
    ['a day before it begins', BEGIN - DAY_MS],
  ])('is not renewed by a clock that is %s', async (_when, startMs) => {
    const { uplink, advance, clock } = await renewing(startMs, refused)
    await advance(HOUR_MS)
    uplink.connected = false
    uplink.lastErrorCode = 'UPLINK_DATES'
    await advance(HOUR_MS)
    expect(uplink.asked).toBe(0)
    // The clock is set: all is well, and nothing needs doing.
    clock.stepWall(BEGIN + DAY_MS - clock.wallMs())
    uplink.connected = true
    await advance(HOUR_MS)
    expect(uplink.asked).toBe(0)
  })

  test('is judged by the clock of the cloud, also where the one here jumped ahead', async () => {
    const { uplink, advance, clock } = await renewing(BEGIN + DAY_MS, refused)
    uplink.cloudWallMs = BEGIN + DAY_MS
    clock.stepWall(20 * LIFE)
    await advance(HOUR_MS)
    expect(uplink.asked).toBe(0)
    uplink.cloudWallMs = BEGIN + LIFE * 0.8
    await advance(HOUR_MS)
    expect(uplink.asked).toBe(1)
  })

  test('from a cloud whose clock was ahead is asked for over the API once the cloud takes it no more', async () => {
    const { uplink, advance, renewal } = await renewing(BEGIN - 30 * DAY_MS, refused)
    // As it was when they last spoke.
    uplink.cloudWallMs = BEGIN + HOUR_MS
    uplink.connected = false
    uplink.lastErrorCode = 'UPLINK_UNREACHABLE'
    await advance(HOUR_MS)
    expect(renewal.stats().lastError).toBeNull()
    uplink.lastErrorCode = 'UPLINK_CERTIFICATE_DATES'
    await advance(HOUR_MS)
    expect(renewal.stats().lastError).toContain('does not answer at https://127.0.0.1:1')
  })

  test('that is very short-lived is not asked for without end', async () => {
    const short = async (csr: Buffer): Promise<IssuedCertificate> => ({
      certificate: await authority.sign(csr, 'gw-1', { notBeforeMs: BEGIN, notAfterMs: BEGIN + LIFE }),
      authority: '',
    })
    const { uplink, advance, renewal } = await renewing(BEGIN + LIFE * 0.8, short)
    expect(renewal.stats().renewals).toBe(1)
    for (let second = 0; second < 50; second++) await advance(1_000)
    expect(uplink.asked).toBe(1)
  })
})

test('a disk that cannot take the new certificate leaves the old one, and it is tried again', async () => {
  const answer = async (csr: Buffer) => ({ certificate: await authority.sign(csr, 'gw-1'), authority: '' })
  const { file, renewal, advance, later } = await renewing(BEGIN + LIFE * 0.5, answer)
  const before = file.read()
  let failures = 2
  const write = file.write.bind(file)
  file.write = (identity) => {
    if (failures-- > 0) throw new BusbarError('no space', { code: 'IDENTITY_NOT_WRITTEN', retryable: true })
    write(identity)
  }
  await later(LIFE * 0.2)
  expect(renewal.stats()).toMatchObject({ lastError: 'no space', refused: false, renewals: 0 })
  expect(file.read()).toEqual(before)
  await advance(HOUR_MS)
  await advance(HOUR_MS)
  expect(renewal.stats()).toMatchObject({ lastError: null, renewals: 1 })
})
