import { expect, it } from 'vitest'
import { DEVICE_STATUS } from '../../../cloud/bus/catalogue.ts'
import type { StatusEffects } from '../../../cloud/telemetry/analytics.ts'
import { FIELDS_MAX } from '../../../cloud/telemetry/latest-fields.ts'
import {
  consumed,
  expectedRollups,
  handedBatches,
  type PlainReading,
  storedReadings,
  storedRollups,
} from '../../support/analytics-batches.ts'
import { analyticsSettings } from '../../support/analytics-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readingRecord, statusRecord } from '../../support/device-records.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const DAY_MS = 86_400_000
const NOW_MS = Date.UTC(2026, 5, 15, 12)

const manyReadings = (count: number, device = 1): PlainReading[] =>
  Array.from({ length: count }, (_, i) => {
    return { deviceId: device + (i % 7), atMs: NOW_MS + i * 61_000, seq: i, fields: { a: i, b: -1 - i, note: 'x' } }
  })
const recordsOf = (readings: readonly PlainReading[]) => consumed(readings.map((each) => readingRecord(each)))

await describeOnEveryDatabase('analytics', (database) => {
  it('dead-letters readings of times that no table should be made for, with what to do about it', async () => {
    const handle = await database.open()
    const clock = new ManualClock(NOW_MS)
    const settings = { ...analyticsSettings, acceptedAgeDays: 400 }
    const { analytics, deliver, published } = await handedBatches(handle, { clock, settings })
    const at = (atMs: number, seq: number): PlainReading => ({ deviceId: 1, atMs, seq, fields: { a: 1 } })
    const accepted = [at(NOW_MS - 400 * DAY_MS, 1), at(NOW_MS + 2 * DAY_MS, 2)]
    const refused = [
      at(NOW_MS - 400 * DAY_MS - 1, 3),
      at(NOW_MS + 2 * DAY_MS + 1, 4),
      at(Date.UTC(9999, 11, 31), 5),
      at(8.64e15, 6),
      at(-8.64e15, 7),
      at(0, 8),
    ]
    await deliver(recordsOf([...accepted, ...refused]))
    expect((await storedReadings(handle)).map(({ seq }) => seq)).toEqual([1, 2])
    expect(analytics.stats().unusable).toEqual({ READING_TOO_OLD: 3, READING_IN_FUTURE: 3 })
    const messages = published.map(({ record }) => JSON.parse(String(record.value)).error.message)
    expect(messages[0]).toBe(
      'the reading is of 2025-05-11T11:59:59.999Z, more than 400 days ago; raise telemetry.acceptedAgeDays and replay it',
    )
    expect(messages[1]).toContain('2026-06-17T12:00:00.001Z, more than 2 days ahead of 2026-06-15T12:00:00.000Z')
  })

  it('tells in the same transaction which devices were heard of, and of their statuses; nothing of one that fails', async () => {
    const handle = await database.open()
    const appended: number[] = []
    const heard: Record<string, number>[] = []
    let nudges = 0
    let failures = 1
    const statuses: StatusEffects = {
      append: async (events) => void appended.push(...events.map(({ deviceId }) => deviceId)),
      heard: async (heardAtMs) => {
        heard.push(Object.fromEntries(heardAtMs))
        if (failures-- > 0) throw new Error('not this time')
      },
      nudge: () => void nudges++,
    }
    const { analytics, deliver } = await handedBatches(handle, { statuses })
    const one = (deviceId: number, headers: Record<string, string> = {}) => {
      const record = readingRecord({
        deviceId,
        fields: { a: 1 },
        atMs: NOW_MS,
        receivedAtMs: NOW_MS + 5,
        seq: deviceId,
      })
      return { ...record, headers: { ...record.headers, ...headers } }
    }
    const busAtMs = NOW_MS + 1_000
    await deliver(consumed([one(1), one(2, { backfill: 'true' }), one(3, { replayOf: 'dlt-1' })], undefined, busAtMs))
    // The try that failed left nothing behind; the next one had all of it.
    expect(heard).toEqual([{ 1: busAtMs }, { 1: busAtMs }])
    expect(analytics.stats()).toMatchObject({ storedReadings: 3, duplicateReadings: 0 })
    expect(nudges).toBe(analytics.stats().writes)
    const heardAtMs = async () => {
      const rows = await handle.kysely.selectFrom('latest_values').selectAll().orderBy('device_id').execute()
      return rows.map((row) => row.heard_at_ms)
    }
    expect(await heardAtMs()).toEqual([busAtMs, NOW_MS + 5, NOW_MS + 5])
    expect((await storedReadings(handle)).length).toBe(3)

    const status = (deviceId: number, value: string, headers: Record<string, string> = {}) => ({
      ...statusRecord(deviceId, value, NOW_MS),
      headers,
    })
    await deliver(
      consumed(
        [
          status(1, 'OFFLINE', { gateway: 'gateway-1', seq: '1' }),
          status(2, 'ERROR', { gateway: 'gateway-1', seq: '2' }),
          status(3, 'MAINTENANCE', { gateway: '$cloud', seq: '3' }),
          status(4, 'ONLINE', { gateway: 'gateway-1', seq: '4' }),
        ],
        DEVICE_STATUS,
        busAtMs + 1,
      ),
    )
    expect(appended).toEqual([1, 2, 3, 4])
    // A device that left, and what the cloud says of one, is no word of the device.
    expect(heard.at(-1)).toEqual({ 2: busAtMs + 1, 4: busAtMs + 1 })
    expect(await heardAtMs()).toEqual([busAtMs, busAtMs + 1, NOW_MS + 5])
  })

  it('rolls up in transactions of bounded size, and what did not fit waits for the next one', async () => {
    const handle = await database.open()
    const { analytics, deliver } = await handedBatches(handle)
    // Each minute is a bucket of its own: more of them than SQLite rolls up at once.
    const readings = manyReadings(3_000)
    await deliver(recordsOf(readings.slice(0, 2_000)))
    await deliver(recordsOf(readings.slice(2_000)))
    await analytics.rollUp()
    expect(analytics.stats()).toMatchObject({ rolledUpReadings: 3_000, pendingReadings: 0, storedReadings: 3_000 })
    expect(await storedRollups(handle)).toEqual(expectedRollups(readings))
    expect(await handle.kysely.selectFrom('rollup_deltas').selectAll().execute()).toEqual([])
  })

  it('keeps as many fields of a bucket as of the latest values, and counts the others', async () => {
    const handle = await database.open()
    const { analytics, deliver } = await handedBatches(handle)
    const fields = (from: number, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${from + i}`, i]))
    await deliver(recordsOf([{ deviceId: 1, atMs: NOW_MS, seq: 1, fields: fields(0, FIELDS_MAX + 10) }]))
    await analytics.rollUp()
    await deliver(recordsOf([{ deviceId: 1, atMs: NOW_MS + 1, seq: 2, fields: { ...fields(0, 3), more: 1 } }]))
    await analytics.rollUp()
    for (const row of Object.values(await storedRollups(handle))) {
      expect(row.records).toBe(2)
      expect(row.fields.size).toBe(FIELDS_MAX)
      expect(row.fields.get('f0')).toMatchObject({ count: 2 })
      expect(row.fields.get('more')).toBeUndefined()
    }
    expect(analytics.stats().droppedFields.tooMany).toBeGreaterThanOrEqual(11)
    expect(Object.keys((await storedReadings(handle))[0]?.fields ?? {}).length).toBe(FIELDS_MAX + 10)
  })

  it('stores texts that databases are wary of as they came', async () => {
    const handle = await database.open()
    const { deliver } = await handedBatches(handle)
    const fields = {
      nul: 'a\0b',
      half: '\ud83d',
      whole: '😀',
      parts: '\u0001\u0002,{}"\\',
      '\0': 1,
      long: 'x'.repeat(100_000),
      nested: { deep: [1, null, '\0'] },
      huge: 1.7e308,
    }
    const readings = [1, 2].map((seq) => ({ deviceId: 1, atMs: NOW_MS, seq, fields }))
    await deliver(recordsOf(readings))
    expect(await storedReadings(handle)).toEqual(readings)
  })

  if (database.postgres !== null) {
    it('is rolled up by two cores at once, each delta by one of them', { timeout: 30_000 }, async () => {
      const url = await database.freshUrl()
      const cores = [await database.open({ url }), await database.open({ url })].map((handle) => handedBatches(handle))
      const [one, two] = (await Promise.all(cores)) as [Awaited<(typeof cores)[0]>, Awaited<(typeof cores)[0]>]
      const readings: PlainReading[] = []
      for (let round = 0; round < 12; round++) {
        const batch = Array.from({ length: 200 }, (_, i) => {
          const deviceId = 1 + ((i * 7) % 50)
          return { deviceId, atMs: NOW_MS + (i % 40) * 30_000, seq: round * 1_000 + i, fields: { a: i } }
        })
        readings.push(...batch)
        const [front, back] = [batch.slice(0, 120), batch.slice(80)]
        await Promise.all([
          one.deliver(recordsOf(front)),
          two.deliver(recordsOf(back.toReversed())),
          one.analytics.rollUp(),
          two.analytics.rollUp(),
        ])
      }
      await Promise.all([one.analytics.rollUp(), two.analytics.rollUp()])
      await one.analytics.rollUp()
      const handle = await database.open({ url })
      expect(await storedRollups(handle)).toEqual(expectedRollups(readings))
      const rolledUp = [one, two].map(({ analytics }) => analytics.stats().rolledUpReadings)
      expect(rolledUp.reduce((sum, count) => sum + count)).toBe(readings.length)
    })
  }
})
