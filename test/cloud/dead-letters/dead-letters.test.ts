import { describe, expect, it } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { deadLettersOf } from '../../../cloud/bus/dead-letter.ts'
import { readLetter } from '../../../cloud/dead-letters/letter.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import {
  countDeadLetters,
  DIED_AT_MS,
  DLT,
  deadLetterCore,
  freshBus,
  letterOf,
  reading,
} from '../../support/dead-letter-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

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
      failedAtMs: DIED_AT_MS,
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
    const clock = new ManualClock(DIED_AT_MS)
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
      timestampMs: DIED_AT_MS,
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
    const [{ id }] = (await core.deadLetters.list()).items as unknown as readonly [{ id: string }]
    expect(id).toMatch(/^task\.requested-dlt\.\d\.0$/)
    const details = await core.deadLetters.get(id)
    expect(details?.original?.toString()).toBe(value)
    expect(details?.error).toEqual({
      code: 'ANALYTICS_FAILED',
      message: 'why',
      timestamp: new Date(DIED_AT_MS).toISOString(),
      retryCount: 3,
    })
    expect(details?.letter.headers).toMatchObject({ own: 'yes\0', originalOffset: '0' })
    expect(await core.deadLetters.get('task.requested-dlt.0.999')).toBeNull()
  })

  it('keep to their limits of size, age and number', async () => {
    const settings = { keptDays: 1, keptMax: 5, valueBytesMax: 500 }
    const database = await databases.open()
    const clock = new ManualClock(DIED_AT_MS)
    const core = await deadLetterCore(database, { clock, deadLetters: { settings, purgePeriodMs: 1_000 } })
    const bus = core.bus
    await bus.publish(DLT, [letterOf(reading(1, { text: 'x'.repeat(600) }))])
    await until(async () => (await countDeadLetters(database)) === 1)
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
      return (await countDeadLetters(database)) === 0
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
    await until(async () => (await countDeadLetters(database)) === 4)
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
    expect(await countDeadLetters(database)).toBe(4)
  })
})

describe('a dead letter', () => {
  it('has the time at which it was read when its own lies ahead or is none', () => {
    const record = { topic: DLT, partition: 0, offset: 1n, key: null, value: Buffer.from('{}'), headers: {} }
    const at = (timestampMs: number) => readLetter({ ...record, timestampMs }, 100, DIED_AT_MS).createdAtMs
    expect([at(DIED_AT_MS + 5), at(-1), at(0), at(DIED_AT_MS - 5)]).toEqual([
      DIED_AT_MS,
      DIED_AT_MS,
      DIED_AT_MS,
      DIED_AT_MS - 5,
    ])
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
            timestampMs: DIED_AT_MS,
          },
          2 ** 20,
          DIED_AT_MS,
        ),
      )
    const [a, b] = [ingest(DIED_AT_MS), ingest(DIED_AT_MS + 1)]
    expect(a.map(({ part, parts }) => [part, parts])).toEqual([
      [1, 2],
      [2, 2],
    ])
    expect(a[0]?.setId).toBe(a[1]?.setId)
    expect(a[0]?.setId).not.toBe(b[0]?.setId)
  })
})
