import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { enrollGateway } from '../../../edge/identity/enroll.ts'
import { IdentityFile } from '../../../edge/identity/identity-file.ts'
import { systemClock } from '../../../shared/clock.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { enrolledGateway } from '../../support/enrolled-gateway.ts'
import { enrolmentApi } from '../../support/enrolment-api.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { append, numbered } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

/** The cloud's own ingest and authority, and a gateway that enrolled there so many days ago. */
async function enrolledDaysAgo(days: number, gatewayDays = 90) {
  const clock = new ManualClock(Date.now())
  const settings = { gatewayDays, graceDays: 30, tokenHours: 24 }
  const secure = { clock, settings, sites: { 'gw-1': [1] }, recheckMs: 50 }
  const core = await ingestCore({ dir: await tempDir(), secure })
  const url = await enrolmentApi(core.trust)
  clock.stepWall(-days * DAY_MS)
  const { token } = await core.trust.enrolment.createToken({ gatewayId: 'gw-1', createdBy: 'eve' })
  const file = new IdentityFile(join(await tempDir(), 'identity'))
  const asked = { file, gatewayId: 'gw-1', url, token, apiAuthority: null, replace: false, clock: systemClock }
  const { identity } = await enrollGateway(asked)
  clock.stepWall(days * DAY_MS)
  return { core, identity, url }
}

/** Readings on the bus, how often each. */
async function counted(core: Awaited<ReturnType<typeof ingestCore>>, expected: number): Promise<number[]> {
  const reader = await readTopics(core.bus, ['device-telemetry'])
  await until(() => reader.records.length >= expected)
  const times = new Map<string, number>()
  for (const { headers } of reader.records) {
    const sequence = String(headers['seq'])
    times.set(sequence, (times.get(sequence) ?? 0) + 1)
  }
  expect(times.size).toBe(expected)
  return [...new Set(times.values())]
}

describe('against the cloud itself', () => {
  test('a gateway enrols, renews under load without a record lost or doubled, and is cut off when it is revoked', async () => {
    const { core, identity } = await enrolledDaysAgo(0.7, 0.9)
    const { spool, uplink, renewal, file } = await enrolledGateway(core.port, identity)
    let written = 0
    // Due at once: more than two thirds of its time are over.
    while (renewal.stats().renewals === 0 || uplink.stats().reconnects === 0) {
      await append(spool, numbered(20, written))
      written += 20
    }
    await append(spool, numbered(20, written))
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect(await counted(core, written + 20)).toEqual([1])
    expect(file.read()?.certificate).not.toBe(identity.certificate)
    const held = await core.trust.certificates.list('gw-1')
    expect(held.map(({ issuedFor }) => issuedFor).toSorted()).toEqual(['enrolment', 'renewal'])

    for (const { serial } of held) await core.trust.certificates.revoke('gw-1', serial, { reason: 'stolen', by: 'eve' })
    await until(() => uplink.stats().lastErrorCode === 'UPLINK_REFUSED')
    await append(spool, numbered(1))
    expect(spool.stats().lanes.telemetry.records).toBe(1)
    expect(uplink.stats().lastError).toContain('revoked')
  })

  test('a certificate that ended within the grace period is renewed by proof of its key', async () => {
    const { core, identity } = await enrolledDaysAgo(100)
    const { spool, renewal } = await enrolledGateway(core.port, identity)
    await append(spool, numbered(5))
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect(renewal.stats()).toMatchObject({ renewals: 1, lastError: null })
    expect(await counted(core, 5)).toEqual([1])
  })

  test('beyond it the cloud refuses, and says that a new token is needed', async () => {
    const { core, identity } = await enrolledDaysAgo(130)
    const { renewal, uplink } = await enrolledGateway(core.port, identity)
    await until(() => renewal.stats().refused)
    expect(renewal.stats().lastError).toContain('it ended more than 30 days ago')
    expect(uplink.stats().connected).toBe(false)
  })
})
