import { describe, expect, it } from 'vitest'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import { laneOf } from '../../../cloud/bus/parked-rows.ts'
import { ParkingStore, untriedLane } from '../../../cloud/bus/parking-store.ts'
import { toRow } from '../../../cloud/dead-letters/dead-letter-rows.ts'
import { DeadLetterStore } from '../../../cloud/dead-letters/dead-letter-store.ts'
import { readLetter } from '../../../cloud/dead-letters/letter.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import {
  FIRST_REPORT_MS,
  type GatewayShare,
  judge,
  judgedUntil,
  SETTLING_MS,
  type Underway,
} from '../../../cloud/telemetry/completeness.ts'
import { CompletenessStore } from '../../../cloud/telemetry/completeness-store.ts'
import { resolutionOf, stepsOf } from '../../../cloud/telemetry/series-plan.ts'
import { TelemetryQueries } from '../../../cloud/telemetry/telemetry-queries.ts'
import { TimePartitions } from '../../../cloud/telemetry/time-partitions.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 0, 31, 12)
/** Two hours that ended an hour ago. */
const STRETCH = { fromMs: NOW_MS - 3 * HOUR_MS, toMs: NOW_MS - HOUR_MS }

describe('the verdict', () => {
  const whole: GatewayShare = {
    gatewayId: 'gw-1',
    connected: true,
    lastSeenAtMs: NOW_MS,
    backlog: { records: 0, bytes: 0, oldestMs: null },
    lost: [],
    lostAtUnknownTime: [],
    gaps: [],
  }
  const nothing: Underway = { failing: null, behindMs: 0, setAside: 0, deadLetters: 0 }
  const judged = (share: Partial<GatewayShare>, stretch = STRETCH, keptSinceMs = 0, underway: Partial<Underway> = {}) =>
    judge(stretch, [{ ...whole, ...share }], { ...nothing, ...underway }, NOW_MS, keptSinceMs)
  const loss = [{ reason: 'age', records: 12, gaps: 1 }]
  const heldSince = (oldestMs: number) => ({ records: 5, bytes: 500, oldestMs })

  it('is COMPLETE when the gateway holds nothing from the stretch and gave nothing up', () => {
    expect(judged({})).toEqual({
      verdict: 'COMPLETE',
      why: 'Whatever the gateway received has arrived, and nothing was given up.',
    })
    expect(judged({ backlog: heldSince(STRETCH.toMs) }).verdict).toBe('COMPLETE')
  })

  it('is PENDING when the gateway may hold some of it, connected or not', () => {
    const held = { backlog: heldSince(STRETCH.toMs - 1) }
    expect(judged(held).verdict).toBe('PENDING')
    expect(judged(held).why).toContain('holds 5 records of all its devices that are on their way')
    expect(judged({ ...held, connected: false }).verdict).toBe('PENDING')
  })

  it('is INCOMPLETE when some of it was given up, whatever else is on its way', () => {
    expect(judged({ lost: loss, backlog: heldSince(STRETCH.fromMs) })).toEqual({
      verdict: 'INCOMPLETE',
      why: expect.stringMatching(
        /gave up records of the stretch, of all its devices together: 12 \(age\)\. .* on their way/,
      ),
    })
  })

  it('is UNKNOWN when nobody can say', () => {
    expect(judge(STRETCH, [], nothing, NOW_MS, 0).verdict).toBe('UNKNOWN')
    expect(judged({ backlog: null }).verdict).toBe('UNKNOWN')
    expect(judged({ lostAtUnknownTime: loss }).verdict).toBe('UNKNOWN')
    expect(judged({ connected: false, lastSeenAtMs: STRETCH.toMs - 1 }).verdict).toBe('UNKNOWN')
    expect(judged({}, STRETCH, STRETCH.fromMs + 1).verdict).toBe('UNKNOWN')
    expect(judged({}, { fromMs: NOW_MS - 1_000, toMs: NOW_MS + HOUR_MS }).verdict).toBe('UNKNOWN')
  })

  it('of a gateway that went later is about what it said before its link died, which was noticed after a while', () => {
    expect(judged({ connected: false, lastSeenAtMs: STRETCH.toMs + 30_000 }).verdict).toBe('COMPLETE')
    expect(judged({ connected: false, lastSeenAtMs: STRETCH.toMs + 29_999 }).verdict).toBe('UNKNOWN')
    const live = { fromMs: NOW_MS - HOUR_MS, toMs: NOW_MS }
    expect(judged({ lastSeenAtMs: NOW_MS - SETTLING_MS }, live).verdict).toBe('COMPLETE')
    expect(judged({ lastSeenAtMs: NOW_MS - SETTLING_MS - 1 }, live)).toMatchObject({
      verdict: 'UNKNOWN',
      why: expect.stringContaining('was last heard of at 2026-01-31T11:59:44.999Z'),
    })
  })

  it('is not COMPLETE while what arrived has not got as far as the database', () => {
    const under = (underway: Partial<Underway>) => judged({}, STRETCH, 0, underway)
    expect(under({ behindMs: 5_000 }).verdict).toBe('COMPLETE')
    expect(under({ behindMs: 61_000 })).toEqual({ verdict: 'PENDING', why: 'Analytics is 61 s behind the bus.' })
    expect(under({ failing: 'the database is away' }).verdict).toBe('PENDING')
    expect(under({ setAside: 3 }).verdict).toBe('PENDING')
    expect(under({ deadLetters: 2 })).toEqual({
      verdict: 'UNKNOWN',
      why: 'Dead letters that were not replayed, perhaps with readings of the stretch: 2.',
    })
    expect(under({ deadLetters: 1_000 }).why).toContain('1000 or more')
  })

  it('leaves out the newest stretch, of which gateways have not reported yet', () => {
    const live = { fromMs: NOW_MS - HOUR_MS, toMs: NOW_MS }
    expect(judgedUntil(live, NOW_MS)).toBe(NOW_MS - SETTLING_MS)
    expect(judged({ backlog: heldSince(NOW_MS - 500) }, live)).toEqual({
      verdict: 'COMPLETE',
      why: expect.stringContaining('What came after 2026-01-31T11:59:45.000Z is not judged yet.'),
    })
  })
})

await describeOnEveryDatabase('completeness', (suite) => {
  it('tells of the gaps that meet the stretch, of those without times, and of the backlog, for a device and for a site', async () => {
    const database = await suite.open()
    const clock = new ManualClock(NOW_MS - FIRST_REPORT_MS)
    const common = { clock, log: silentLogger }
    const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
    const settings = {
      rawDays: 30,
      rollup1mDays: 90,
      rollup15mDays: 730,
      rollup1hDays: 3_650,
      rollup1dDays: 36_500,
      rollUpDelayMs: 2_000,
      seriesPointsMax: 5_000,
      seriesMax: 50,
    }
    let behindMs = 0
    const analytics = { stats: () => ({ failing: null, behindMs }) }
    const telemetry = new TelemetryQueries({ database, registry, settings, analytics, ...common })
    await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    await registry.load('gw-2', [{ siteId: 1, serialNumber: 'INV-002' }])
    for (const gatewayId of ['gw-1', 'gw-2', 'gw-former']) {
      const hello = { gatewayId, sessionId: 's', epoch: 'e', bootId: 'b', softwareVersion: '1', clockOffsetMs: 0 }
      await registry.gatewayConnected(hello)
      await registry.gateways.writeReports([
        { gatewayId, seenAtMs: NOW_MS, backlog: { records: 0, bytes: 0, oldestMs: null } },
      ])
    }
    const device = () => telemetry.completeness({ deviceId: 1 }, STRETCH)
    clock.advance(FIRST_REPORT_MS)
    expect((await device()).verdict).toBe('COMPLETE')
    // Back from being away, it has not reported yet; what it held before is still what the registry knows.
    const seenAtMs = NOW_MS - 1
    await registry.gateways.writeReports([{ gatewayId: 'gw-1', seenAtMs, backlog: null }])
    expect(await device()).toMatchObject({ verdict: 'UNKNOWN', gateways: [{ backlog: null, connected: true }] })
    await registry.gateways.writeReports([{ gatewayId: 'gw-1', seenAtMs: NOW_MS, backlog: null }])

    behindMs = 60_000
    expect((await device()).verdict).toBe('PENDING')
    behindMs = 0

    let sequence = 0
    const gap = async (gateway_id: string, from_ms: number | null, to_ms: number | null, more: object = {}) => {
      const times = { at_ms: NOW_MS - 60_000, recorded_at_ms: NOW_MS, from_ms, to_ms }
      const row = {
        gateway_id,
        epoch: 'e',
        lane: 'telemetry',
        first_sequence: ++sequence,
        record_count: 10,
        reason: 'age',
      }
      await database.kysely
        .insertInto('gateway_gaps')
        .values({ ...row, ...times, ...more })
        .execute()
    }
    // None of these concerns the stretch.
    await gap('gw-1', STRETCH.fromMs - 5_000, STRETCH.fromMs - 1)
    await gap('gw-1', STRETCH.toMs, NOW_MS)
    await gap('gw-1', STRETCH.fromMs, STRETCH.toMs, { lane: 'priority' })
    await gap('gw-1', null, null, { at_ms: STRETCH.fromMs - 1 })
    await gap('gw-2', STRETCH.fromMs, STRETCH.toMs)
    expect(await device()).toMatchObject({ verdict: 'COMPLETE', gateways: [{ gatewayId: 'gw-1', lost: [], gaps: [] }] })

    await gap('gw-1', null, null, { record_count: 3, reason: 'corrupt' })
    expect(await device()).toMatchObject({
      verdict: 'UNKNOWN',
      gateways: [{ lost: [], lostAtUnknownTime: [{ reason: 'corrupt', records: 3, gaps: 1 }] }],
    })
    await gap('gw-1', STRETCH.fromMs - 5_000, STRETCH.fromMs)
    await gap('gw-1', STRETCH.toMs - 1, NOW_MS, { reason: 'bytes' })
    await gap('gw-1', STRETCH.fromMs, STRETCH.fromMs, { reason: 'bytes' })
    const lost = await device()
    expect(lost.verdict).toBe('INCOMPLETE')
    expect(lost.gateways[0]?.lost).toEqual([
      { reason: 'age', records: 10, gaps: 1 },
      { reason: 'bytes', records: 20, gaps: 2 },
    ])
    expect(lost.gateways[0]?.gaps).toHaveLength(4)
    expect(lost.gateways[0]?.gaps).toContainEqual({
      recordCount: 10,
      reason: 'bytes',
      givenUpAtMs: NOW_MS - 60_000,
      fromMs: STRETCH.toMs - 1,
      toMs: NOW_MS,
    })

    const site = await telemetry.completeness({ siteId: 1 }, STRETCH)
    expect(site.gateways.map(({ gatewayId, lost }) => [gatewayId, lost.length])).toEqual([
      ['gw-1', 2],
      ['gw-2', 1],
    ])
    await registry.gateways.writeReports([
      { gatewayId: 'gw-2', seenAtMs: NOW_MS, backlog: { records: 7, bytes: 70, oldestMs: STRETCH.fromMs } },
    ])
    const second = await telemetry.completeness({ deviceId: 2 }, { ...STRETCH, fromMs: STRETCH.toMs - 1 })
    expect(second.gateways).toMatchObject([{ gatewayId: 'gw-2', mayConcern: true, connected: true }])

    // It was behind another gateway then; what the cloud found out itself names none.
    for (const [seq, gateway_id] of [
      [1, 'gw-former'],
      [2, '$cloud'],
      [3, null],
    ] as const) {
      await database.kysely
        .insertInto('status_history')
        .values({
          device_id: 1,
          at_ms: STRETCH.fromMs,
          seq,
          previous_status: null,
          status: 'ONLINE',
          reason: null,
          gateway_id,
          backfill: 0,
        })
        .execute()
    }
    expect((await device()).gateways.map(({ gatewayId }) => gatewayId)).toEqual(['gw-1', 'gw-former'])
    // No change of status since: it is that gateway still, until a later one says another.
    const later = { fromMs: STRETCH.fromMs + 1, toMs: STRETCH.toMs }
    const ofLater = await telemetry.completeness({ deviceId: 1 }, later)
    expect(ofLater.gateways.map(({ gatewayId }) => gatewayId)).toEqual(['gw-1', 'gw-former'])
    const earlier = { fromMs: STRETCH.fromMs - 2, toMs: STRETCH.fromMs }
    const ofEarlier = await telemetry.completeness({ deviceId: 1 }, earlier)
    expect(ofEarlier.gateways.map(({ gatewayId }) => gatewayId)).toEqual(['gw-1'])
  })

  it('tells of readings of the device that were set aside, or are dead letters', async () => {
    const database = await suite.open()
    const store = new CompletenessStore(database)
    const registry = new Registry({
      ...{ database, autoRegister: true, autoRegisterGateways: true, log: silentLogger },
      clock: new ManualClock(NOW_MS),
    })
    const devices = await registry.load('gw-1', [
      { siteId: 1, serialNumber: 'INV-001' },
      { siteId: 1, serialNumber: 'INV-002' },
      { siteId: 2, serialNumber: 'INV-003' },
    ])
    const [one = 0, two = 0] = devices.map((device) => device?.deviceId)
    const nothing = { setAside: 0, deadLetters: 0 }
    expect(await store.notTakenIn({ deviceId: one }, 0)).toEqual(nothing)

    const parking = new ParkingStore(database)
    const aside = async (group: string, key: string, offset: number) => {
      const value = Buffer.from('{}')
      const record = {
        topic: DEVICE_TELEMETRY,
        partition: 0,
        offset: BigInt(offset),
        key,
        value,
        headers: {},
        timestampMs: 1,
      }
      const lane = laneOf(record)
      await parking.setAside(group, DEVICE_TELEMETRY, new Map([[lane, untriedLane(lane, 0)]]), [{ lane, record }], 0)
    }
    await aside('analytics-service', 'INV-001', 1)
    await aside('analytics-service', 'INV-001', 2)
    await aside('analytics-service', 'INV-003', 3)
    await aside('notification-service', 'INV-001', 1)
    const letters = new DeadLetterStore(database)
    const letter = async (offset: number, key: string, source: string, createdAtMs: number) => {
      const place = { topic: `${DEVICE_TELEMETRY}-dlt`, partition: 0, offset: BigInt(offset), timestampMs: createdAtMs }
      const headers = { source, originalTopic: DEVICE_TELEMETRY }
      const value = Buffer.from('{"error":{"code":"X"}}')
      await letters.insert([toRow(readLetter({ ...place, key, headers, value }, 1_000, createdAtMs))])
    }
    await letter(1, 'INV-001', 'ingest', NOW_MS)
    await letter(2, 'INV-002', 'analytics-service', NOW_MS)
    await letter(3, 'INV-001', 'analytics-service', NOW_MS - 1)
    await letter(4, 'INV-001', 'notification-service', NOW_MS)
    expect(await store.notTakenIn({ deviceId: one }, NOW_MS)).toEqual({ setAside: 2, deadLetters: 1 })
    expect(await store.notTakenIn({ deviceId: two }, NOW_MS)).toEqual({ setAside: 0, deadLetters: 1 })
    expect(await store.notTakenIn({ siteId: 1 }, 0)).toEqual({ setAside: 2, deadLetters: 3 })
    await database.kysely.updateTable('dead_letters').set({ replayed_at_ms: NOW_MS }).execute()
    expect(await store.notTakenIn({ siteId: 1 }, 0)).toEqual({ setAside: 2, deadLetters: 0 })
  })

  it('counts what arrived of more devices than one statement takes', async () => {
    const database = await suite.open()
    const clock = new ManualClock(NOW_MS)
    const registry = new Registry({
      database,
      autoRegister: true,
      autoRegisterGateways: true,
      clock,
      log: silentLogger,
    })
    const names = Array.from({ length: 450 }, (_, n) => ({ siteId: 1, serialNumber: `INV-${n}` }))
    const ids = (await registry.load('gw-1', names)).flatMap((device) => device?.deviceId ?? [])
    const { fromMs } = STRETCH
    await new TimePartitions({ database, clock }).ensure([fromMs])
    const rollups = ids.map((device_id) => ({ device_id, bucket_ms: fromMs, records: 2, fields: '{}' }))
    await database.kysely.insertInto('rollups_1h').values(rollups).execute()
    const readings = ids.map((device_id, n) => ({ device_id, at_ms: fromMs + n, seq: 1, fields: '{}' }))
    await database.kysely.insertInto('readings').values(readings).execute()
    const store = new CompletenessStore(database)
    const steps = stepsOf(STRETCH, HOUR_MS, 50)
    expect(await store.counts({ siteId: 1 }, resolutionOf('1h'), steps)).toEqual([{ atMs: fromMs, records: 900 }])
    expect(await store.ends({ siteId: 1 }, STRETCH)).toEqual({ firstMs: fromMs, lastMs: fromMs + 449 })
    expect(await store.ends({ siteId: 2 }, STRETCH)).toEqual({ firstMs: null, lastMs: null })
  })
})
