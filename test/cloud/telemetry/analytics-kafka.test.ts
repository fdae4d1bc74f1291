import { expect, onTestFinished, test } from 'vitest'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { expectedRollups, storedReadings, storedRollups } from '../../support/analytics-batches.ts'
import { analyticsCoreOver, startKafkaBus } from '../../support/analytics-core.ts'
import { readingRecord } from '../../support/device-records.ts'
import { describeKafka, startKafka } from '../../support/kafka.ts'
import { startPostgres } from '../../support/postgres.ts'
import { until } from '../../support/until.ts'

const NOW_MS = Date.UTC(2026, 5, 15, 12)

describeKafka('two cores on one database', () => {
  test('store and count every reading once, while partitions move from one to the other', {
    timeout: 60_000,
  }, async () => {
    const [kafka, postgres] = await Promise.all([startKafka(), startPostgres()])
    onTestFinished(() => kafka.stop())
    if (postgres === null) throw new Error('no PostgreSQL')
    onTestFinished(() => postgres.stop())
    const databaseUrl = await postgres.freshUrl()
    const startCore = async () => analyticsCoreOver(await startKafkaBus(kafka.brokers), { databaseUrl })
    const bus = await startKafkaBus(kafka.brokers)
    onTestFinished(() => bus.stop(AbortSignal.timeout(2_000)))
    let published = 0
    const publish = async (count: number): Promise<void> => {
      const records = Array.from({ length: count }, (_, i) => {
        const seq = published + i
        return readingRecord({ deviceId: (seq % 30) + 1, fields: { a: seq % 89 }, atMs: NOW_MS + seq * 500, seq })
      })
      published += count
      await bus.publish(DEVICE_TELEMETRY, records)
    }

    const one = await startCore()
    onTestFinished(() => one.stop())
    await publish(2_000)
    await until(() => one.analytics.stats().records > 0, { what: 'the first core stores something' })
    // Joins while the first one has batches in hand, and leaves while more come.
    const joining = startCore()
    for (let i = 0; i < 10; i++) await publish(500)
    const two = await joining
    for (let i = 0; i < 10; i++) await publish(500)
    await until(() => two.analytics.stats().records > 0, {
      what: 'the second core stores something',
      timeoutMs: 40_000,
    })
    await two.analytics.rollUp()
    const leaving = two.stop()
    for (let i = 0; i < 6; i++) await publish(500)
    await leaving

    const database = openDatabase({ url: databaseUrl, clock: systemClock, log: silentLogger })
    onTestFinished(() => database.stop())
    await database.start()
    await until(async () => (await storedReadings(database)).length >= published, {
      what: 'all is stored',
      pollMs: 100,
      timeoutMs: 40_000,
    })
    await one.analytics.rollUp()
    const stored = await storedReadings(database)
    expect(stored.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(Array.from({ length: published }, (_, i) => i))
    expect(await storedRollups(database)).toEqual(expectedRollups(stored))
  })
})
