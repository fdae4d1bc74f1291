import { expect, it, onTestFinished } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import type { EmbeddedBus } from '../../../cloud/bus/embedded/embedded-bus.ts'
import type { AnalyticsOptions } from '../../../cloud/telemetry/analytics.ts'
import { expectedRollups, storedReadings, storedRollups } from '../../support/analytics-batches.ts'
import { analyticsSettings, startAnalyticsCore, startBus } from '../../support/analytics-core.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readingRecord, statusRecord } from '../../support/device-records.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const CORE = new URL('../../support/analytics-core.ts', import.meta.url).pathname

await describeOnEveryDatabase('analytics', (database) => {
  const start = async (
    analytics: Partial<AnalyticsOptions> = {},
    wrapBus: (bus: EmbeddedBus) => AnalyticsOptions['bus'] = (bus) => bus,
  ) => {
    const where = { busDir: await tempDir(), databaseUrl: await database.freshUrl() }
    const core = await startAnalyticsCore({ ...where, wrapBus, analytics: { writeDelayMs: 5, ...analytics } })
    onTestFinished(() => core.stop())
    return core
  }

  it('keep every field with its own event time', async () => {
    const { bus, analytics } = await start()
    await bus.publish(DEVICE_TELEMETRY, [
      readingRecord({
        deviceId: 7,
        siteId: 3,
        fields: { powerKw: 45.2, voltage: 480 },
        atMs: 2_000,
        receivedAtMs: 2_100,
      }),
      readingRecord({ deviceId: 7, siteId: 3, fields: { powerKw: 46 }, atMs: 3_000, receivedAtMs: 3_100 }),
      // From the backlog: older than what is known of the one field, news of the other.
      readingRecord({
        deviceId: 7,
        siteId: 3,
        fields: { powerKw: 1, temperature: 20 },
        atMs: 1_000,
        receivedAtMs: 9_000,
      }),
      readingRecord({ deviceId: 8, siteId: 4, fields: { on: true, mode: null, phases: [1, 2, 3] }, atMs: 5 }),
    ])
    await until(() => analytics.stats().records === 4)
    const seven = {
      deviceId: 7,
      siteId: 3,
      serialNumber: 'INV-7',
      eventAtMs: 3_000,
      receivedAtMs: 3_100,
      values: {
        powerKw: { value: 46, atMs: 3_000 },
        voltage: { value: 480, atMs: 2_000 },
        temperature: { value: 20, atMs: 1_000 },
      },
    }
    expect(await analytics.latest(7)).toEqual(seven)
    expect(await analytics.latestOfSite(3)).toEqual([seven])
    expect((await analytics.latest(8))?.values).toEqual({
      on: { value: true, atMs: 5 },
      mode: { value: null, atMs: 5 },
      phases: { value: [1, 2, 3], atMs: 5 },
    })
    expect(await analytics.latest(9)).toBeNull()
  })

  it('keep the devices’ statuses by event time', async () => {
    const { bus, registry, analytics } = await start()
    const [device] = await registry.load('g', [{ siteId: 1, serialNumber: 'INV-1' }])
    const id = device?.deviceId as number
    await bus.publish(DEVICE_STATUS, [
      statusRecord(id, 'ONLINE', 10),
      statusRecord(id, 'ERROR', 30, 'arc\0 fault'),
      statusRecord(id, 'OFFLINE', 20),
      statusRecord(999, 'ONLINE', 1),
    ])
    await until(() => analytics.stats().records === 4)
    expect(await registry.devices.get(id)).toMatchObject({ status: 'ERROR', statusAtMs: 30, statusReason: 'arc fault' })
  })

  it('dead-letter what nobody can use, and go on', async () => {
    const { bus, analytics } = await start()
    const letters: ConsumedRecord[] = []
    await bus.subscribe({
      group: 'operators',
      topics: [`${DEVICE_TELEMETRY}-dlt`, `${DEVICE_STATUS}-dlt`],
      onBatch: async (batch) => void letters.push(...batch.records),
    })
    await bus.publish(DEVICE_TELEMETRY, [
      { key: 'INV-1', value: 'not JSON' },
      {
        key: 'INV-1',
        value: '{"deviceId":1,"siteId":1,"serialNumber":"INV-1","telemetryData":[],"timestamp":"2026-01-01T00:00:00Z"}',
      },
      {
        key: 'INV-1',
        value:
          '{"deviceId":9999999999,"siteId":1,"serialNumber":"INV-1","telemetryData":{},"timestamp":"2026-01-01T00:00:00Z"}',
      },
      {
        key: 'INV-1',
        value:
          '{"deviceId":1,"siteId":1,"serialNumber":"a\\u0000b","telemetryData":{},"timestamp":"2026-01-01T00:00:00Z"}',
      },
      { key: 'INV-1', value: '{"deviceId":1,"siteId":1,"serialNumber":"INV-1","telemetryData":{},"timestamp":"soon"}' },
      readingRecord({ deviceId: 1, fields: { powerKw: 1 }, atMs: 1 }),
    ])
    await bus.publish(DEVICE_STATUS, [statusRecord(1, 'BROKEN', 1)])
    await until(() => letters.length === 6)
    const errors = letters.map(({ value }) => JSON.parse(value.toString()).error)
    expect(errors.map((error) => error.code)).toEqual(Array(6).fill('RECORD_UNUSABLE'))
    expect(errors.map((error) => error.message)).toContain('timestamp is no RFC 3339 time')
    expect(letters[0]?.headers).toMatchObject({ source: 'analytics-service', originalPartition: expect.any(String) })
    await until(() => analytics.stats().unusable.RECORD_UNUSABLE === 6)
    expect((await analytics.latest(1))?.values).toEqual({ powerKw: { value: 1, atMs: 1 } })
  })

  it('change nothing when a batch comes twice', async () => {
    let losses = 1
    const { analytics, bus } = await start({}, (real) => ({
      publish: (topic, records) => real.publish(topic, records),
      subscribe: (options) =>
        real.subscribe({
          ...options,
          onBatch: async (batch) => {
            await options.onBatch(batch)
            // The effects are durable; the commit of the offsets is not.
            if (losses-- > 0) throw new Error('the commit is lost')
          },
        }),
    }))
    await bus.publish(DEVICE_TELEMETRY, [readingRecord({ deviceId: 1, fields: { a: 1 }, atMs: 1 })])
    await until(() => analytics.stats().records === 2)
    expect(analytics.stats()).toMatchObject({ writes: 2, writtenRows: 1 })
  })

  it('lose nothing and repeat nothing when the core is killed in the middle, again and again', {
    timeout: 60_000,
  }, async () => {
    const where = { busDir: await tempDir(), databaseUrl: await database.freshUrl() }
    const bus = await startBus(where.busDir)
    const devices = 40
    const rounds = 150
    for (let round = 1; round <= rounds; round++) {
      const records = Array.from({ length: devices }, (_, i) =>
        readingRecord({
          deviceId: i + 1,
          fields: { round, [`only${round % 7}`]: round },
          atMs: round * 1_000,
          seq: round * devices + i,
        }),
      )
      await bus.publish(DEVICE_TELEMETRY, records)
    }
    await bus.stop(new AbortController().signal)

    const watcher = await database.open({ url: where.databaseUrl })
    const progress = async () => {
      const row = await watcher.kysely
        .selectFrom('latest_values')
        .select((e) => e.fn.max('event_at_ms').as('atMs'))
        .executeTakeFirst()
      return Number(row?.atMs ?? 0)
    }
    let kills = 0
    for (let before = 0; before < rounds * 1_000 && kills < 3; before = await progress()) {
      // Rolls up all the time, so that it is killed in the middle of that as well.
      const child = startChild({ command: [bunPath, CORE, where.busDir, where.databaseUrl, '0', '5'] })
      onTestFinished(() => void child.kill('SIGKILL'))
      await until(async () => (await progress()) > before || child.exit !== null, {
        what: 'the child writes something',
      })
      expect(child.exit, child.output()).toBeNull()
      await child.kill('SIGKILL')
      kills++
    }
    expect(kills).toBeGreaterThan(0)

    const core = await startAnalyticsCore(where)
    onTestFinished(() => core.stop())
    const all = async () =>
      (await core.analytics.latestOfSite(1)).every((device) => device.eventAtMs === rounds * 1_000)
    await until(async () => (await core.analytics.latestOfSite(1)).length === devices && (await all()))
    for (const { values } of await core.analytics.latestOfSite(1)) {
      expect(values.round).toEqual({ value: rounds, atMs: rounds * 1_000 })
      for (let rest = 0; rest < 7; rest++) {
        const last = rounds - ((rounds - rest) % 7)
        expect(values[`only${rest}`]).toEqual({ value: last, atMs: last * 1_000 })
      }
    }
    await core.analytics.rollUp()
    const stored = await storedReadings(watcher)
    expect(stored.length).toBe(devices * rounds)
    expect(await storedRollups(watcher)).toEqual(expectedRollups(stored))
  })

  const { postgres } = database
  // SQLite has no server that could be killed.
  if (postgres !== null) {
    it('wait for a database that is away, and then catch up, with nothing lost and nothing counted twice', {
      timeout: 30_000,
    }, async () => {
      const settings = { ...analyticsSettings, rollUpDelayMs: 20 }
      const { bus, analytics, database: handle } = await start({ settings })
      const total = 3_000
      let published = 0
      const publish = async (count: number): Promise<void> => {
        const records = Array.from({ length: count }, (_, i) => {
          const seq = published + i
          return readingRecord({ deviceId: (seq % 5) + 1, fields: { a: seq % 97 }, atMs: seq * 700, seq })
        })
        published += count
        await bus.publish(DEVICE_TELEMETRY, records)
      }
      await publish(500)
      await until(() => analytics.stats().records > 0)
      // Statements that are in hand, commits among them, end in doubt.
      for (let i = 0; i < 5; i++) await publish(100)
      await postgres.kill()
      while (published < total) await publish(250)
      await until(() => bus.stats().redeliveredBatches > 0, { what: 'the bus delivers again' })
      expect(handle.health().state).toBe('down')
      await postgres.restart()
      await until(async () => (await storedReadings(handle).catch(() => [])).length === total, {
        what: 'all arrive after all',
      })
      await analytics.rollUp()
      const stored = await storedReadings(handle)
      expect(stored.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, i) => i))
      expect(await storedRollups(handle)).toEqual(expectedRollups(stored))
      expect(analytics.stats().unusable).toEqual({})
      expect(analytics.stats()).toMatchObject({ pendingReadings: 0, pendingMs: 0 })
    })
  }
})
