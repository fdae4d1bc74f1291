import { expect, it, onTestFinished } from 'vitest'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import type { StepPoint } from '../../../cloud/telemetry/series.ts'
import { TelemetryQueries } from '../../../cloud/telemetry/telemetry-queries.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { analyticsSettings, startAnalyticsCore } from '../../support/analytics-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readingRecord } from '../../support/device-records.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

await describeOnEveryDatabase('readings from the bus', (database) => {
  it('are in series at every resolution, those that came late and twice as well', async () => {
    const core = await startAnalyticsCore({ busDir: await tempDir(), databaseUrl: await database.freshUrl() })
    onTestFinished(() => core.stop())
    const settings = { ...analyticsSettings, seriesPointsMax: 5_000, seriesMax: 10 }
    const telemetry = new TelemetryQueries({ ...core, settings, clock: systemClock, log: silentLogger })
    await core.registry.load('gateway-1', [{ siteId: 1, serialNumber: 'INV-1' }])
    const fromMs = Date.UTC(2026, 0, 31, 22)
    const readings = Array.from({ length: 1_000 }, (_, i) => ({
      atMs: fromMs + i * 20_000,
      seq: i + 1,
      value: (i * 7) % 31,
    }))
    const publish = async (some: typeof readings) => {
      const records = some.map(({ atMs, seq, value }) =>
        readingRecord({ deviceId: 1, fields: { powerKw: value }, atMs, seq }),
      )
      await core.bus.publish(DEVICE_TELEMETRY, records)
    }
    await publish(readings.filter((_, i) => i % 3 !== 0))
    await until(() => core.analytics.stats().storedReadings === 666)
    await core.analytics.rollUp()
    await publish(readings.filter((_, i) => i % 2 === 0))
    await until(() => core.analytics.stats().storedReadings === 833)
    await core.analytics.rollUp()
    const known = readings.filter((_, i) => i % 3 !== 0 || i % 2 === 0)
    const stretch = { fromMs, toMs: fromMs + 86_400_000 }
    const raw = await telemetry.series({ deviceIds: [1], fields: ['powerKw'], ...stretch, pointsMax: 1_000 })
    expect(raw.series[0]?.points).toEqual(known.map(({ atMs, value }) => ({ atMs, value })))
    for (const resolution of ['1m', '15m', '1h', '1d'] as const) {
      const answer = await telemetry.series({
        deviceIds: [1],
        fields: ['powerKw'],
        ...stretch,
        resolution,
        pointsMax: 5_000,
      })
      const stepMs = answer.stepMs as number
      const points = (answer.series[0]?.points ?? []) as StepPoint[]
      const steps = Map.groupBy(known, ({ atMs }) => Math.floor(atMs / stepMs) * stepMs)
      expect(points.map(({ atMs, min, max, last, count }) => [atMs, min, max, last, count])).toEqual(
        [...steps].map(([atMs, of]) => {
          const values = of.map(({ value }) => value)
          return [atMs, Math.min(...values), Math.max(...values), values.at(-1), values.length]
        }),
      )
    }
    const { arrived } = await telemetry.completeness({ deviceId: 1 }, stretch)
    expect(arrived).toMatchObject({ records: 833, uncounted: 0, firstMs: known[0]?.atMs, lastMs: known.at(-1)?.atMs })
  })
})
