import { expect, it } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { deadLetters as lettersOf } from '../../../cloud/bus/dead-letter.ts'
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

await describeOnEveryDatabase('dead letters replayed', (databases) => {
  it('replays the original to its topic with its key and headers, once, and notes that', async () => {
    const core = await deadLetterCore(await databases.open())
    const original = reading(7, { powerKw: 1.5 })
    await core.add(DLT, [letterOf(original)])
    const { deadLetters, bus } = core
    const reader = await readTopics(bus, ['device-telemetry'])
    const [{ id }] = (await deadLetters.list()).items as unknown as readonly [{ id: string }]

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
    await until(async () => (await countDeadLetters(first)) === count)
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
      await core.add(DLT, [letterOf(reading(99), 'X')])
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
      ['REFUSED', 'RECORD_TOO_LARGE'],
      ['REPLAYED', null],
    ])
    expect((await deadLetters.list({ replayed: false })).items.map(({ key }) => key)).toEqual(['INV-2'])
  })

  it('are joined of their parts, and refused while one is missing', async () => {
    const core = await deadLetterCore(await databases.open())
    const value = Buffer.alloc(1_200_000, 0xfe)
    const parts = lettersOf(
      {
        topic: 'chat-messages',
        partition: 0,
        offset: 9n,
        key: 'c',
        value,
        headers: { own: '1', source: 'a-service' },
        timestampMs: DIED_AT_MS,
      },
      { source: 'communication-service-group', code: 'TOO_ODD', message: 'why', retryCount: 3, atMs: DIED_AT_MS },
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
    expect(reader.records[0]?.headers).toEqual({ own: '1', source: 'a-service', replayOf: ids[0] })
  })

  it('may be published again when the core died before it noted that, once its claim has run out', async () => {
    const database = await databases.open()
    const clock = new ManualClock(DIED_AT_MS)
    const core = await deadLetterCore(database, { clock })
    await core.bus.publish(DLT, [letterOf(reading(1))])
    await until(async () => (await countDeadLetters(database)) === 1)
    const reader = await readTopics(core.bus, ['device-telemetry'])
    const { deadLetters } = core
    const dies = () => Promise.reject(new BusbarError('gone', { code: 'DATABASE_UNAVAILABLE', retryable: true }))
    await expect(deadLetters.replay({ filter: {} }, dies)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    await until(() => reader.records.length === 1)
    const inHand = await deadLetters.replay({ filter: {} })
    expect(inHand.results).toMatchObject([{ outcome: 'SKIPPED', code: 'IN_HAND' }])
    clock.advance(120_001)
    expect((await deadLetters.replay({ filter: {} })).results).toMatchObject([{ outcome: 'REPLAYED' }])
    await until(() => reader.records.length === 2)
    const [first, second] = reader.records
    // The same record for whoever goes by gateway and seq.
    expect([second?.headers, second?.value]).toEqual([first?.headers, first?.value])
    expect((await deadLetters.replay({ filter: {} })).results).toEqual([])
  })

  it('take no more into one request than fits in memory', async () => {
    const database = await databases.open()
    const core = await deadLetterCore(database)
    const value = JSON.stringify({ text: 'x'.repeat(700_000) })
    const letters = Array.from({ length: 26 }, (_, i) => letterOf({ key: 'one', value }, 'X', i))
    await core.add(
      'chat-messages-dlt',
      letters.map((each) => ({ ...each, headers: { originalTopic: 'chat-messages' } })),
    )
    const { deadLetters } = core
    const ids = (await deadLetters.list()).items.map(({ id }) => id)
    const byIds = await deadLetters.replay({ ids, dryRun: true })
    expect(byIds.results.filter(({ outcome }) => outcome === 'LEFT')).toHaveLength(byIds.left)
    const first = await deadLetters.replay({ filter: {}, limit: 500, dryRun: true })
    expect([first.results.length, first.left]).toEqual([26 - byIds.left, byIds.left])
    expect(byIds.left).toBe(3)
    const rest = await deadLetters.replay({ filter: {}, limit: 500, dryRun: true, cursor: first.next as string })
    expect([rest.results.length, rest.left, rest.next]).toEqual([3, 0, null])
  })
})
