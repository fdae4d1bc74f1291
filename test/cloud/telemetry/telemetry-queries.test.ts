import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import type { Point } from '../../../cloud/telemetry/downsample.ts'
import { RESOLUTIONS } from '../../../cloud/telemetry/rollup.ts'
import type { StepPoint } from '../../../cloud/telemetry/series.ts'
import type { TelemetrySettings } from '../../../cloud/telemetry/series-plan.ts'
import type { Series, SeriesAnswer } from '../../../cloud/telemetry/series-reader.ts'
import { TelemetryQueries } from '../../../cloud/telemetry/telemetry-queries.ts'
import { silentLogger } from '../../../shared/log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { DAY_MS, type MadeReading, makeWeek, type WeekOptions, writeWeek } from '../../support/week-of-readings.ts'

const FROM_MS = Date.UTC(2026, 0, 5, 7, 13)
const TO_MS = FROM_MS + 7 * DAY_MS
const DEVICES = 100

const OPTIONS: WeekOptions = {
  seed: 2026,
  devices: DEVICES,
  periodMs: (device) => (device % 10 === 0 ? 60_000 : 900_000 - device * 1_000),
  fromMs: FROM_MS,
  toMs: TO_MS,
  rolledUpToMs: TO_MS - 50_000,
}
const week = makeWeek(OPTIONS)

const SETTINGS: TelemetrySettings = {
  rawDays: 30,
  rollup1mDays: 90,
  rollup15mDays: 730,
  rollup1hDays: 3_650,
  rollup1dDays: 36_500,
  rollUpDelayMs: 2_000,
  seriesPointsMax: 5_000,
  seriesMax: 50,
}

const question = fc.record({
  deviceIds: fc.uniqueArray(fc.integer({ min: 1, max: DEVICES }), { minLength: 1, maxLength: 3 }),
  fields: fc.uniqueArray(fc.constantFrom('powerKw', 'voltage', 'temperature', 'mode', 'on', 'unknown'), {
    minLength: 1,
    maxLength: 3,
  }),
  ends: fc.oneof(
    fc.tuple(fc.integer({ min: FROM_MS - DAY_MS, max: TO_MS + DAY_MS }), fc.integer({ min: 1, max: 2 * DAY_MS })),
    fc.tuple(fc.integer({ min: FROM_MS - DAY_MS, max: TO_MS }), fc.integer({ min: 1, max: 9 * DAY_MS })),
    fc.tuple(fc.integer({ min: TO_MS - 7_200_000, max: TO_MS }), fc.integer({ min: 1, max: 7_200_000 })),
  ),
  pointsMax: fc.oneof(fc.integer({ min: 10, max: 60 }), fc.integer({ min: 10, max: 5_000 })),
  resolution: fc.constantFrom(
    'auto' as const,
    'raw' as const,
    '1m' as const,
    '15m' as const,
    '1h' as const,
    '1d' as const,
  ),
  method: fc.constantFrom('minmax' as const, 'lttb' as const),
})

await describeOnEveryDatabase('a week of 100 devices', (suite) => {
  let database: DatabaseHandle
  const clock = new ManualClock(TO_MS)
  const common = { clock, log: silentLogger }
  const queries = (settings: Partial<TelemetrySettings> = {}) => {
    const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
    const analytics = { stats: () => ({ failing: null, behindMs: 0 }) }
    return new TelemetryQueries({ database, registry, settings: { ...SETTINGS, ...settings }, analytics, ...common })
  }

  beforeAll(async () => {
    database = openDatabase({ url: await suite.freshUrl(), ...common })
    await database.start()
    await writeWeek(database, week, OPTIONS)
  })
  afterAll(() => database.stop())

  it('is answered at every resolution as a plain recomputation has it', async () => {
    const telemetry = queries()
    await fc.assert(
      fc.asyncProperty(question, async ({ ends: [fromMs, lengthMs], ...asked }) => {
        const stretch = { fromMs, toMs: fromMs + lengthMs }
        const answer = await telemetry.series({ ...asked, ...stretch })
        if (asked.resolution !== 'auto') expect(answer.resolution).toBe(asked.resolution)
        expect(answer.series.map(({ device, field }) => [device.deviceId, field])).toEqual(
          asked.deviceIds.toSorted((a, b) => a - b).flatMap((id) => asked.fields.map((field) => [id, field])),
        )
        for (const series of answer.series) {
          expect(series.points.length).toBeLessThanOrEqual(asked.pointsMax)
          const readings = readingsOf(series)
          if (answer.resolution === 'raw') checkRaw(answer, series, readings, stretch, asked)
          else checkSteps(answer, series, readings, stretch)
        }
      }),
      { numRuns: 120 },
    )
  })

  it('of a site has a series of each device, and of a field that none has an empty one', async () => {
    const answer = await queries().series({ siteId: 3, fields: ['unknown'], fromMs: FROM_MS, toMs: TO_MS })
    expect(answer.series.map(({ device }) => device.deviceId)).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30])
    expect(answer.series.every(({ points }) => points.length === 0)).toBe(true)
  })

  it('picks raw readings for an hour and roll-ups for a week, and coarser ones for fewer points', async () => {
    const telemetry = queries()
    const pick = async (lengthMs: number, pointsMax: number) => {
      const asked = { deviceIds: [1], fields: ['powerKw'], fromMs: TO_MS - lengthMs, toMs: TO_MS, pointsMax }
      return (await telemetry.series(asked)).resolution
    }
    expect(await pick(3_600_000, 500)).toBe('raw')
    expect(await pick(DAY_MS, 500)).toBe('raw')
    expect(await pick(7 * DAY_MS, 500)).toBe('15m')
    expect(await pick(7 * DAY_MS, 100)).toBe('1h')
    expect(await pick(7 * DAY_MS, 5_000)).toBe('raw')
  })

  it('says since when a resolution is kept, and passes over raw where it is not any more', async () => {
    const telemetry = queries({ rawDays: 1 })
    const asked = { deviceIds: [2], fields: ['powerKw'], fromMs: TO_MS - 2 * DAY_MS, toMs: TO_MS }
    const auto = await telemetry.series(asked)
    expect(auto.resolution).toBe('1m')
    expect(auto.notes.join()).toContain('Raw readings are kept since 2026-01-11T07:13:00.000Z only')
    const raw = await telemetry.series({ ...asked, resolution: 'raw' })
    expect(raw).toMatchObject({ resolution: 'raw', exact: false, keptSinceMs: TO_MS - DAY_MS })
    expect(raw.notes.join()).toContain('what is older may be missing')
  })

  it('refuses what is beyond a limit by name, value and remedy', async () => {
    const telemetry = queries({ seriesMax: 9, seriesPointsMax: 700 })
    const stretch = { fromMs: FROM_MS, toMs: TO_MS }
    const refusal = (question: object) =>
      telemetry.series({ deviceIds: [1], fields: ['powerKw'], ...stretch, ...question }).then(
        () => null,
        (error) => error.refused ?? error.code,
      )
    expect(await refusal({ toMs: FROM_MS })).toEqual([
      {
        field: 'to',
        value: '2026-01-05T07:13:00.000Z',
        remedy: 'a time after `from`, which is 2026-01-05T07:13:00.000Z',
      },
    ])
    expect(await refusal({ pointsMax: 701 })).toEqual([{ field: 'maxPoints', value: 701, remedy: '10 to 700' }])
    expect(await refusal({ deviceIds: [1, 2, 3], fields: ['a', 'b', 'c', 'd'] })).toEqual([
      expect.objectContaining({ field: 'deviceId', value: '3 devices', remedy: expect.stringContaining('at most 2 ') }),
    ])
    expect(await refusal({ deviceIds: undefined, siteId: 1 })).toEqual([
      expect.objectContaining({ field: 'siteId', value: 1, remedy: expect.stringContaining('at most 9 devices') }),
    ])
    expect(await refusal({ deviceIds: [1, 999, 2 ** 31] })).toBe('DEVICES_NOT_FOUND')
    expect(await refusal({ deviceIds: undefined, siteId: 999 })).toBe('SITE_NOT_FOUND')
    const century = { fromMs: TO_MS - 36_000 * DAY_MS, resolution: '1m' }
    expect(
      (await telemetry.series({ deviceIds: [1], fields: ['powerKw'], ...stretch, ...century } as never)).series,
    ).toHaveLength(1)
  })

  it('refuses what would read too much, and says what would not; auto takes coarser roll-ups instead', async () => {
    const telemetry = queries({ seriesMax: 1_000 })
    const fields = Array.from({ length: 20 }, (_, i) => (i === 0 ? 'powerKw' : `field${i}`))
    const deviceIds = [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    const asked = { deviceIds, fields, fromMs: FROM_MS, toMs: TO_MS, pointsMax: 5_000 }
    await expect(telemetry.series({ ...asked, resolution: 'raw' })).rejects.toMatchObject({
      code: 'QUERY_REFUSED',
      refused: [{ field: 'resolution', value: 'raw', remedy: expect.stringContaining('a coarser one') }],
    })
    const auto = await telemetry.series(asked)
    expect(auto.resolution).toBe('1m')
    expect(auto.series).toHaveLength(200)
  })

  it('is counted as it arrived, with its first and its last reading', async () => {
    const telemetry = queries()
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: DEVICES }),
        fc.integer({ min: FROM_MS - DAY_MS, max: TO_MS - 120_000 }),
        fc.integer({ min: 1, max: 7 * DAY_MS }),
        fc.integer({ min: 2, max: 300 }),
        async (deviceId, fromMs, lengthMs, buckets) => {
          const toMs = Math.min(fromMs + lengthMs, TO_MS - 110_000)
          const { arrived } = await telemetry.completeness({ deviceId }, { fromMs, toMs }, buckets)
          const { bucketMs } = arrived
          const all = week[deviceId - 1] as MadeReading[]
          const counts = new Map<number, number>()
          for (const { atMs } of all) {
            const bucket = Math.floor(atMs / bucketMs) * bucketMs
            if (atMs < OPTIONS.rolledUpToMs && bucket < toMs && bucket + bucketMs > fromMs)
              counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
          }
          expect(arrived.buckets.length).toBeLessThanOrEqual(buckets)
          expect(arrived.buckets).toEqual([...counts].map(([atMs, records]) => ({ atMs, records })))
          const within = all.filter(({ atMs }) => atMs >= fromMs && atMs < toMs)
          expect([arrived.firstMs, arrived.lastMs]).toEqual([within[0]?.atMs ?? null, within.at(-1)?.atMs ?? null])
        },
      ),
      { numRuns: 30 },
    )
    const site = await telemetry.completeness({ siteId: 1 }, { fromMs: FROM_MS, toMs: TO_MS })
    const expected = week
      .slice(0, 10)
      .flat()
      .filter(({ atMs }) => atMs < OPTIONS.rolledUpToMs)
    expect(site.arrived.records).toBe(expected.length)
  })

  it('is exported whole, a page at a time', async () => {
    const telemetry = queries()
    const stretch = { fromMs: FROM_MS + 3 * DAY_MS, toMs: FROM_MS + 5 * DAY_MS }
    const text = async (question: object) => {
      const asked = { siteId: 2, resolution: 'raw', format: 'ndjson', ...stretch, ...question }
      return await new Response(await telemetry.export(asked as never, new AbortController().signal)).text()
    }
    const lines = (await text({})).trimEnd().split('\n')
    const expected = week.slice(10, 20).flatMap((readings, i) =>
      readings
        .filter(({ atMs }) => atMs >= stretch.fromMs && atMs < stretch.toMs)
        .map(({ atMs, fields }) => ({
          time: new Date(atMs).toISOString(),
          siteId: 2,
          deviceId: 11 + i,
          serialNumber: `INV-${String(11 + i).padStart(3, '0')}`,
          values: fields,
        })),
    )
    expect(lines.map((line) => JSON.parse(line))).toEqual(expected)
    const csv = (await text({ format: 'csv', fields: ['powerKw'] })).split('\r\n')
    expect(csv[0]).toBe('time,siteId,deviceId,serialNumber,field,value')
    expect(csv.slice(1, -1)).toEqual(
      expected.map(
        ({ time, deviceId, serialNumber, values }) => `${time},2,${deviceId},${serialNumber},powerKw,${values.powerKw}`,
      ),
    )
    const hourly = (await text({ resolution: '1h', fields: ['voltage'] })).trimEnd().split('\n')
    const counted = hourly.reduce((sum, line) => sum + JSON.parse(line).records, 0)
    const hour = (ms: number) => Math.ceil(ms / 3_600_000) * 3_600_000
    const within = week
      .slice(10, 20)
      .flat()
      .filter(({ atMs }) => atMs >= hour(stretch.fromMs) && atMs < hour(stretch.toMs))
    expect(counted).toBe(within.length)
    expect(telemetry.stats()).toEqual({ exporting: 0, exports: 3, exportsFailed: 0, exportsRefused: 0 })
  })
})

interface NumericReading extends Point {
  readonly seq: number
}

function readingsOf({ device, field }: Series): NumericReading[] {
  return (week[device.deviceId - 1] as MadeReading[]).flatMap(({ atMs, seq, fields }) => {
    const value = fields[field]
    return typeof value === 'number' ? [{ atMs, seq, value }] : []
  })
}

function checkRaw(
  answer: SeriesAnswer,
  { points, readings }: Series,
  all: readonly NumericReading[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
  { pointsMax, method }: { pointsMax: number; method: string },
): void {
  const within = all.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).map(({ atMs, value }) => ({ atMs, value }))
  const raw = points as Point[]
  expect(readings).toBe(within.length)
  expect(answer.stepMs).toBe(null)
  if (within.length <= pointsMax) {
    expect(raw).toEqual(within)
    return
  }
  expect(answer.exact).toBe(false)
  const known = new Set(within.map(({ atMs, value }) => `${atMs} ${value}`))
  expect(raw.every(({ atMs, value }) => known.has(`${atMs} ${value}`))).toBe(true)
  expect(raw.every(({ atMs }, i) => i === 0 || atMs >= (raw[i - 1] as Point).atMs)).toBe(true)
  const values = (of: readonly Point[]) => of.map(({ value }) => value)
  if (method === 'minmax') {
    expect(Math.max(...values(raw))).toBe(Math.max(...values(within)))
    expect(Math.min(...values(raw))).toBe(Math.min(...values(within)))
  } else {
    expect([raw[0], raw.at(-1), raw.length]).toEqual([within[0], within.at(-1), pointsMax])
  }
}

function checkSteps(
  { stepMs, resolution }: SeriesAnswer,
  { points, readings }: Series,
  all: readonly NumericReading[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
): void {
  const step = stepMs as number
  expect(step % (RESOLUTIONS.find(({ name }) => name === resolution)?.ms as number)).toBe(0)
  const steps = new Map<number, NumericReading[]>()
  for (const reading of all) {
    const begin = Math.floor(reading.atMs / step) * step
    if (begin >= toMs || begin + step <= fromMs) continue
    const known = steps.get(begin)
    if (known === undefined) steps.set(begin, [reading])
    else known.push(reading)
  }
  for (const [begin, of] of steps) if (of.every(({ atMs }) => atMs < fromMs)) steps.delete(begin)
  expect(points.map(({ atMs }) => atMs)).toEqual([...steps.keys()])
  let count = 0
  for (const [i, [atMs, of]] of [...steps].entries()) {
    const values = of.map(({ value }) => value)
    const { mean, ...point } = points[i] as StepPoint
    const last = of.reduce((a, b) => (b.atMs > a.atMs || (b.atMs === a.atMs && b.seq > a.seq) ? b : a)).value
    expect(point).toEqual({ atMs, min: Math.min(...values), max: Math.max(...values), last, count: of.length })
    expect(mean).toBeCloseTo(values.reduce((a, b) => a + b, 0) / values.length, 8)
    count += of.length
  }
  expect(readings).toBe(count)
}
