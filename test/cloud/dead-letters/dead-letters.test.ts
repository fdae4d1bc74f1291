import { describe, expect, it, onTestFinished } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { deadLettersOf, deadLetters as lettersOf } from '../../../cloud/bus/dead-letter.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { readLetter } from '../../../cloud/dead-letters/letter.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { deadLetterCore, freshBus } from '../../support/dead-letter-core.ts'
import { readingRecord } from '../../support/device-records.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const DLT = 'device-telemetry-dlt'
const AT = Date.UTC(2026, 0, 2)

/** As the analytics service gave it up. */
function letterOf(record: BusRecord, code = 'ANALYTICS_FAILED', offset = 0): BusRecord {
  const consumed = { topic: 'device-telemetry', partition: 1, offset: BigInt(offset), timestampMs: AT }
  const { key, headers = {} } = record
  const [letter] = lettersOf(
    { ...consumed, key, headers, value: Buffer.from(record.value as string) },
    { source: 'analytics-service', code, message: 'why', retryCount: 3, atMs: AT },
  )
  return letter as BusRecord
}

const reading = (deviceId: number, fields: Record<string, unknown> = { powerKw: 1 }): BusRecord => {
  const record = readingRecord({ deviceId, fields, atMs: AT })
  return { ...record, headers: { ...record.headers, gateway: 'gw-1', seq: String(deviceId) } }
}

async function countRows(database: DatabaseHandle): Promise<number> {
  const { count } = await database.kysely
    .selectFrom('dead_letters')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return Number(count)
}

await describeOnEveryDatabase('dead letters', (databases) => {
  it('lists what consumers gave up, the newest first, and finds it by what is known of it', async () => {
    const core = await deadLetterCore(await databases.open())
    for (let i = 1; i <= 5; i++) await core.add(DLT, [letterOf(reading(i), i % 2 === 0 ? 'EVEN' : 'ODD')])
    await core.add('task.requested-dlt', [{ key: 'x', value: '{"error":{"code":"EVEN"}}' }])
    const { deadLetters } = core
    const all = await deadLetters.list()
    expect(all.items.map(({ key }) => key)).toEqual(['x', 'INV-5', 'INV-4', 'INV-3', 'INV-2', 'INV-1'])
    expect(all.items[1]).toMatchObject({
      topic: DLT,
      originalTopic: 'device-telemetry',
      source: 'analytics-service',
      code: 'ODD',
      message: 'why',
      retryCount: 3,
      failedAtMs: AT,
      isKept: true,
      replays: 0,
    })
    const keysOf = async (filter: Parameters<typeof deadLetters.list>[0]) =>
      (await deadLetters.list(filter)).items.map(({ key }) => key)
    expect(await keysOf({ topic: 'device-telemetry', code: 'EVEN' })).toEqual(['INV-4', 'INV-2'])
    expect(await keysOf({ topic: 'task.requested-dlt' })).toEqual(['x'])
    expect(await keysOf({ source: 'analytics-service', key: 'INV-3' })).toEqual(['INV-3'])
    expect(await keysOf({ untilMs: all.items[3]?.createdAtMs as number, replayed: false })).toEqual(
      all.items.filter((each) => each.createdAtMs < (all.items[3]?.createdAtMs as number)).map(({ key }) => key),
    )
    expect(await keysOf({ replayed: true })).toEqual([])
    const paged: (string | null)[] = []
    for (let cursor: string | undefined, more = true; more; ) {
      const page = await deadLetters.list({ limit: 2, cursor })
      paged.push(...page.items.map(({ key }) => key))
      cursor = page.next ?? undefined
      more = page.next !== null
    }
    expect(paged).toEqual(all.items.map(({ key }) => key))
    expect((await deadLetters.summary()).map(({ originalTopic, code, count }) => [originalTopic, code, count])).toEqual(
      [
        ['device-telemetry', 'ODD', 3],
        ['device-telemetry', 'EVEN', 2],
        ['task.requested', 'EVEN', 1],
      ],
    )
  })

  it('lists whatever others put there, and reads on', async () => {
    const core = await deadLetterCore(await databases.open())
    const odd: readonly (readonly [BusRecord, string])[] = [
      [{ key: null, value: '' }, 'UNREADABLE'],
      [{ key: 'k', value: Buffer.from([0xff, 0, 1]) }, 'UNREADABLE'],
      [{ key: 'k', value: '[1]' }, 'UNREADABLE'],
      [{ key: 'k', value: `${'['.repeat(100_000)}` }, 'UNREADABLE'],
      [{ key: 'k', value: `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}` }, 'UNKNOWN'],
      [{ key: 'k', value: '{}' }, 'UNKNOWN'],
      [{ key: 'k', value: '{"error":"text"}' }, 'UNKNOWN'],
      [{ key: 'k', value: '{"error":{"code":7,"message":[],"timestamp":"never","retryCount":-1}}' }, 'UNKNOWN'],
      [{ key: 'k', value: '{"error":{"code":"\\u0000\\ud800","message":"a\\u0000b","retryCount":1e99}}' }, '\ufffd'],
      [{ key: 'nul\0key', value: '{"error":{"code":"C"}}', headers: { 'nul\0': 'a\0b', part: '2/1' } }, 'C'],
      [{ key: 'k', value: '{"error":{"code":"D"}}', headers: { originalTopic: 'x'.repeat(5_000), source: '\0' } }, 'D'],
      [{ key: 'k', value: '{"error":{"code":"E"}}', headers: { much: 'x'.repeat(300_000) } }, 'E'],
    ]
    for (const [record, code] of odd) {
      await core.add(DLT, [record])
      const [newest] = (await core.deadLetters.list({ limit: 1 })).items
      expect(newest?.code).toBe(code)
      const details = await core.deadLetters.get(newest?.id as string)
      if (code !== 'E') {
        expect(details?.value?.equals(Buffer.from(record.value as string))).toBe(true)
        expect(newest).toMatchObject({ key: record.key, headers: record.headers ?? {} })
      } else expect(newest).toMatchObject({ isKept: false, headers: {} })
    }
    expect(core.deadLetters.stats()).toMatchObject({ unlisted: 0 })
    const { results } = await core.deadLetters.replay({ filter: {}, limit: 500, dryRun: true })
    expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(['REFUSED']))
  })

  it('lists without its contents what the database does not take, and the rest as it is', async () => {
    const database = await databases.open()
    const { DeadLetterIndex } = await import('../../../cloud/dead-letters/dead-letter-index.ts')
    const { DeadLetterStore } = await import('../../../cloud/dead-letters/dead-letter-store.ts')
    const store = new DeadLetterStore(database)
    const clock = new ManualClock(AT)
    const log = { error: () => {} } as never
    let away = true
    const picky = {
      insert: async (rows: Parameters<typeof store.insert>[0]) => {
        if (away) throw new BusbarError('away', { code: 'DATABASE_UNAVAILABLE', retryable: true })
        if (rows.some(({ code }) => code === 'REFUSED')) throw new Error('value too long')
        return await store.insert(rows)
      },
    }
    const index = new DeadLetterIndex({ store: picky, valueBytesMax: 1_000, clock, log })
    const records = ['GOOD', 'REFUSED', 'GOOD'].map((code, offset) => ({
      topic: DLT,
      partition: 0,
      offset: BigInt(offset),
      key: 'k',
      value: Buffer.from(`{"error":{"code":"${code}"}}`),
      headers: {},
      timestampMs: AT,
    }))
    const batch = { topic: DLT, partition: 0, records }
    await expect(index.take(batch)).rejects.toThrow('away')
    away = false
    await index.take(batch)
    const codes = (await store.list({})).items.map(({ code, isKept }) => [code, isKept])
    expect(codes).toEqual([
      ['GOOD', true],
      ['UNREADABLE', false],
      ['GOOD', true],
    ])
  })

  it('shows what it was before with its error, digit for digit', async () => {
    const core = await deadLetterCore(await databases.open())
    const value = '{"a":1e400,"b":12345678901234567890,"c":-0,"d":"\\u0000"}'
    await core.add('task.requested-dlt', [letterOf({ key: 'k\0', value, headers: { own: 'yes\0' } })])
    const [{ id }] = (await core.deadLetters.list()).items as readonly [{ id: string }]
    expect(id).toMatch(/^task\.requested-dlt\.\d\.0$/)
    const details = await core.deadLetters.get(id)
    expect(details?.original?.toString()).toBe(value)
    expect(details?.error).toEqual({
      code: 'ANALYTICS_FAILED',
      message: 'why',
      timestamp: new Date(AT).toISOString(),
      retryCount: 3,
    })
    expect(details?.letter.headers).toMatchObject({ own: 'yes\0', originalOffset: '0' })
    expect(await core.deadLetters.get('task.requested-dlt.0.999')).toBeNull()
  })

  it('replays the original to its topic with its key and headers, once, and notes that', async () => {
    const core = await deadLetterCore(await databases.open())
    const original = reading(7, { powerKw: 1.5 })
    await core.add(DLT, [letterOf(original)])
    const { deadLetters, bus } = core
    const reader = await readTopics(bus, ['device-telemetry'])
    const [{ id }] = (await deadLetters.list()).items as readonly [{ id: string }]

    const dry = await deadLetters.replay({ ids: [id], dryRun: true })
    expect(dry).toMatchObject({ dryRun: true, left: 0, next: null })
    const bytes = Buffer.byteLength(original.value as string)
    const to = { topic: 'device-telemetry', key: 'INV-7', bytes }
    expect(dry.results).toEqual([{ id, outcome: 'WOULD_REPLAY', ...to, code: null, message: null }])
    expect((await deadLetters.get(id))?.letter).toMatchObject({ replays: 0, replayedAtMs: null })
    expect(reader.records).toEqual([])

    expect((await deadLetters.replay({ ids: [id] })).results).toMatchObject([{ id, outcome: 'REPLAYED', ...to }])
    await until(() => reader.records.length === 1)
    expect(reader.records[0]?.value.toString()).toBe(original.value)
    expect(reader.records[0]?.headers).toEqual({ ...original.headers, replayOf: id })
    expect((await deadLetters.get(id))?.letter).toMatchObject({ replays: 1, replayedAtMs: expect.any(Number) })

    const again = await deadLetters.replay({ ids: [id, id, 'device-telemetry-dlt.9.9'] })
    expect(again.results).toMatchObject([
      { id, outcome: 'SKIPPED', code: 'REPLAYED_BEFORE' },
      { id: 'device-telemetry-dlt.9.9', outcome: 'NOT_FOUND' },
    ])
    expect((await deadLetters.replay({ filter: {} })).results).toEqual([])
    await deadLetters.replay({ ids: [id], again: true })
    await until(() => reader.records.length === 2)
    expect((await deadLetters.get(id))?.letter.replays).toBe(2)
  })

  it('refuses what its consumer would give up again, what was damaged, and what goes nowhere', async () => {
    const core = await deadLetterCore(await databases.open())
    await core.add(DLT, [
      letterOf({ key: 'a', value: '{"deviceId":1}' }),
      { key: 'b', value: '{"error":{"code":"X"}}', headers: { originalTopic: 'no-such-topic' } },
      { key: 'c', value: '{"error":{"code":"X"}}', headers: { originalTopic: 'device-telemetry-dlt' } },
      {
        key: 'd',
        value: '{"raw":"AA==","error":{"code":"BLOCK_CORRUPT"}}',
        headers: { source: 'ingest', recordCount: '4' },
      },
      { key: 'e', value: '{"error":{"code":"X"}}', headers: { source: 'ingest' } },
      { key: 'f', value: 'torn' },
    ])
    const reader = await readTopics(core.bus, ['device-telemetry'])
    const { results } = await core.deadLetters.replay({ filter: {} })
    const reasons = new Map(results.map(({ id, code, outcome }) => [id, [outcome, code]]))
    const { items } = await core.deadLetters.list()
    expect(Object.fromEntries(items.map(({ key, id }) => [key, reasons.get(id)]))).toEqual({
      a: ['REFUSED', 'RECORD_UNUSABLE'],
      b: ['REFUSED', 'TOPIC_UNKNOWN'],
      c: ['REFUSED', 'TOPIC_UNKNOWN'],
      d: ['REFUSED', 'BLOCK_DAMAGED'],
      e: ['REFUSED', 'ORIGIN_UNKNOWN'],
      f: ['REFUSED', 'UNRESTORABLE'],
    })
    expect(reader.records).toEqual([])
    expect(items.every(({ replays }) => replays === 0)).toBe(true)
    expect((await core.deadLetters.replay({ filter: {} })).results).toHaveLength(6)
  })

  it('is published by one of two that replay it at once', async () => {
    const url = await databases.freshUrl()
    const [first, second] = [await databases.open({ url }), await databases.open({ url })]
    const core = await deadLetterCore(first)
    const other = await deadLetterCore(second, { bus: core.bus })
    const count = 40
    await core.bus.publish(
      DLT,
      Array.from({ length: count }, (_, i) => letterOf(reading(i + 1), 'X', i)),
    )
    await until(async () => (await countRows(first)) === count)
    const reader = await readTopics(core.bus, ['device-telemetry'])
    const runs = await Promise.all(
      [core, other, core, other].map((each) => each.deadLetters.replay({ filter: {}, limit: 500 })),
    )
    const outcomes = runs.flatMap(({ results }) => results.map(({ outcome }) => outcome))
    expect(outcomes.filter((outcome) => outcome === 'REPLAYED')).toHaveLength(count)
    await until(() => reader.records.length >= count)
    expect(reader.records.map(({ key }) => key).toSorted()).toEqual(
      Array.from({ length: count }, (_, i) => `INV-${i + 1}`).toSorted(),
    )
  })

  it('are replayed by filter page by page, the oldest first, without what dies meanwhile', async () => {
    const core = await deadLetterCore(await databases.open())
    const { deadLetters, bus } = core
    const records = Array.from({ length: 7 }, (_, i) =>
      letterOf({ ...reading(i + 1), key: 'one' }, i === 3 ? 'OTHER' : 'X'),
    )
    await core.add(DLT, records)
    const reader = await readTopics(bus, ['device-telemetry'])
    const replayed: number[] = []
    const left: number[] = []
    for (let cursor: string | undefined, more = true; more; ) {
      const page = await deadLetters.replay({ filter: { code: 'X' }, limit: 2, cursor })
      replayed.push(page.results.filter(({ outcome }) => outcome === 'REPLAYED').length)
      left.push(page.left)
      await new Promise((resolve) => setTimeout(resolve, 2))
      // Fails again at once.
      await core.add(DLT, [letterOf(reading(99))])
      cursor = page.next ?? undefined
      more = page.next !== null
    }
    expect([replayed, left]).toEqual([
      [2, 2, 2],
      [4, 2, 0],
    ])
    await until(() => reader.records.length === 6)
    expect(reader.records.map(({ headers }) => headers['seq'])).toEqual(['1', '2', '3', '5', '6', '7'])
    await expect(deadLetters.replay({ filter: {}, cursor: 'bm9uZQ' })).rejects.toMatchObject({
      code: 'REGISTRATION_INVALID',
    })
  })

  it('are let go, not noted, when the bus is away, and replayed afterwards', async () => {
    const real = await freshBus()
    let down = true
    const flaky = {
      subscribe: real.subscribe.bind(real),
      publish: async (topic: string, records: readonly BusRecord[]) => {
        if (down) throw new BusbarError('no broker', { code: 'BUS_UNAVAILABLE', retryable: true })
        if (records.some(({ key }) => key === 'INV-2')) throw new BusbarError('too large', { code: 'RECORD_TOO_LARGE' })
        await real.publish(topic, records)
      },
    }
    const core = await deadLetterCore(await databases.open(), { bus: real, deadLetters: { bus: flaky } })
    await core.add(
      DLT,
      [1, 2, 3].map((id) => letterOf(reading(id), 'X', id)),
    )
    const { deadLetters } = core
    const failed = await deadLetters.replay({ filter: {} })
    expect(failed.results.map(({ outcome, code }) => [outcome, code])).toEqual(
      Array.from({ length: 3 }, () => ['FAILED', 'BUS_UNAVAILABLE']),
    )
    down = false
    const { items } = await deadLetters.list()
    const ids = [1, 2, 3].map((id) => items.find(({ key }) => key === `INV-${id}`)?.id as string)
    const { results } = await deadLetters.replay({ ids })
    expect(results.map(({ outcome, code }) => [outcome, code])).toEqual([
      ['REPLAYED', null],
      ['FAILED', 'RECORD_TOO_LARGE'],
      ['REPLAYED', null],
    ])
    expect((await deadLetters.list({ replayed: false })).items.map(({ key }) => key)).toEqual(['INV-2'])
  })

  it('are joined of their parts, and refused while one is missing', async () => {
    const core = await deadLetterCore(await databases.open())
    const value = Buffer.alloc(1_200_000, 0xfe)
    const parts = lettersOf(
      { topic: 'chat-messages', partition: 0, offset: 9n, key: 'c', value, headers: { own: '1' }, timestampMs: AT },
      { source: 'communication-service-group', code: 'TOO_ODD', message: 'why', retryCount: 3, atMs: AT },
    )
    expect(parts).toHaveLength(3)
    await core.add('chat-messages-dlt', [parts[0] as BusRecord, parts[2] as BusRecord])
    const { deadLetters } = core
    const [letter, ...others] = (await deadLetters.list()).items
    expect(others).toEqual([])
    expect(letter).toMatchObject({ parts: 3, code: 'TOO_ODD' })
    const ids = [letter?.id as string]
    expect((await deadLetters.replay({ ids })).results).toMatchObject([{ outcome: 'REFUSED', code: 'PARTS_MISSING' }])
    await core.add('chat-messages-dlt', [parts[1] as BusRecord])
    expect((await deadLetters.get(ids[0] as string))?.original?.equals(value)).toBe(true)
    const reader = await readTopics(core.bus, ['chat-messages'])
    expect((await deadLetters.replay({ ids })).results).toMatchObject([{ outcome: 'REPLAYED', bytes: 1_200_000 }])
    await until(() => reader.records.length === 1)
    expect(reader.records[0]?.value.equals(value)).toBe(true)
    expect(reader.records[0]?.headers).toEqual({ own: '1', replayOf: ids[0] })
  })

  it('keep to their limits of size, age and number', async () => {
    const settings = { keptDays: 1, keptMax: 5, valueBytesMax: 500 }
    const database = await databases.open()
    const clock = new ManualClock(AT)
    const core = await deadLetterCore(database, { clock, deadLetters: { settings, purgePeriodMs: 1_000 } })
    const bus = core.bus
    await bus.publish(DLT, [letterOf(reading(1, { text: 'x'.repeat(600) }))])
    await until(async () => (await countRows(database)) === 1)
    const [large] = (await core.deadLetters.list()).items
    expect(large).toMatchObject({
      isKept: false,
      key: 'INV-1',
      code: 'ANALYTICS_FAILED',
      valueBytes: expect.any(Number),
    })
    const { results } = await core.deadLetters.replay({ ids: [large?.id as string] })
    expect(results).toMatchObject([{ outcome: 'REFUSED', code: 'VALUE_NOT_KEPT' }])
    expect(await core.deadLetters.get(large?.id as string)).toMatchObject({ value: null, original: null })

    clock.advance(10_000)
    await bus.publish(
      DLT,
      Array.from({ length: 8 }, (_, i) => letterOf({ ...reading(i + 2), key: 'one' }, 'X', i)),
    )
    await until(async () => {
      clock.advance(1_100)
      return core.deadLetters.stats().purged === 4
    })
    const kept = (await core.deadLetters.list()).items
    expect(kept.map(({ headers }) => headers['seq'])).toEqual(['9', '8', '7', '6', '5'])
    await until(async () => {
      clock.advance(86_400_000)
      return (await countRows(database)) === 0
    })
    expect(core.deadLetters.stats()).toMatchObject({ purged: 9, indexed: 9 })
  })

  it('come once, however often they are delivered, and anew when their topic was made anew', async () => {
    const database = await databases.open()
    const bus = await freshBus()
    const first = await deadLetterCore(database, { bus })
    await first.add(
      DLT,
      [1, 2, 3].map((id) => letterOf({ ...reading(id), key: 'one' }, 'X', id)),
    )
    await first.deadLetters.replay({ filter: { key: 'one' }, limit: 1 })
    await first.deadLetters.stop(AbortSignal.timeout(1_000))
    await bus.publish(DLT, [letterOf({ ...reading(4), key: 'one' }, 'X', 4)])
    const second = await deadLetterCore(database, { bus })
    await until(async () => (await countRows(database)) === 4)
    expect(second.deadLetters.stats().indexed).toBe(1)

    const { DeadLetterIndex } = await import('../../../cloud/dead-letters/dead-letter-index.ts')
    const { DeadLetterStore } = await import('../../../cloud/dead-letters/dead-letter-store.ts')
    const reader = await readTopics(bus, [DLT])
    await until(() => reader.records.length === 4)
    const log = { error: () => {} } as never
    const options = { store: new DeadLetterStore(database), valueBytesMax: 10_000, clock: new ManualClock(), log }
    const index = new DeadLetterIndex(options)
    const [{ partition }] = reader.records as unknown as readonly [{ partition: number }]
    await index.take({ topic: DLT, partition, records: reader.records })
    expect(index.stats().indexed).toBe(0)
    expect((await second.deadLetters.list({ replayed: true })).items).toHaveLength(1)

    const [old] = reader.records
    const value = Buffer.from('{"error":{"code":"NEW"}}')
    const anew = { ...(old as (typeof reader.records)[number]), value, timestampMs: (old?.timestampMs ?? 0) + 5 }
    await index.take({ topic: DLT, partition, records: [anew] })
    expect((await second.deadLetters.list({ code: 'NEW' })).items).toMatchObject([{ replays: 0, offset: 0 }])
    expect(await countRows(database)).toBe(4)
  })
})

describe('a dead letter', () => {
  it('has the time at which it was read when its own lies ahead or is none', () => {
    const record = { topic: DLT, partition: 0, offset: 1n, key: null, value: Buffer.from('{}'), headers: {} }
    const at = (timestampMs: number) => readLetter({ ...record, timestampMs }, 100, AT).createdAtMs
    expect([at(AT + 5), at(-1), at(0), at(AT - 5)]).toEqual([AT, AT, AT, AT - 5])
  })

  it('of ingest and of consumers is told apart by its parts, whoever wrote it twice', () => {
    const ingest = (atMs: number) =>
      deadLettersOf(
        {
          topic: 'device-telemetry',
          key: null,
          value: Buffer.alloc(600_000),
          headers: { gateway: 'g', epoch: 'e', seq: '1' },
        },
        { source: 'ingest', code: 'BAD_TOPIC', message: '', retryCount: 0, atMs },
      ).map((letter, i) =>
        readLetter(
          {
            topic: DLT,
            partition: 0,
            offset: BigInt(i),
            key: null,
            value: Buffer.from(letter.value as string),
            headers: letter.headers ?? {},
            timestampMs: AT,
          },
          2 ** 20,
          AT,
        ),
      )
    const [a, b] = [ingest(AT), ingest(AT + 1)]
    expect(a.map(({ part, parts }) => [part, parts])).toEqual([
      [1, 2],
      [2, 2],
    ])
    expect(a[0]?.setId).toBe(a[1]?.setId)
    expect(a[0]?.setId).not.toBe(b[0]?.setId)
    onTestFinished(() => {})
  })
})
