/** What every bus does. Both implementations pass it; a topic of its own keeps each test apart on a shared broker. */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../cloud/bus/catalogue.ts'
import { until } from '../support/until.ts'
import { busAtomicSuite } from './bus-atomic-suite.ts'
import { DAY_MS, Sink, uniqueTopic } from './bus-fixtures.ts'
import { busUsersSuite } from './bus-users-suite.ts'

export interface BusHarness {
  /** A bus on the store that all buses of the suite share, not started. */
  create(options: { topics: readonly TopicSpec[]; queueBytesMax?: number }): Bus
  dispose(): Promise<void>
}

const never = new AbortController().signal

function readings(count: number, keys: number, from = 0): BusRecord[] {
  return Array.from({ length: count }, (_, i) => ({ key: `INV-${(from + i) % keys}`, value: String(from + i) }))
}

function expectOrderedByKey(sink: Sink, keys: number): void {
  for (let key = 0; key < keys; key++) {
    const numbers = sink.values(`INV-${key}`).map(Number)
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
  }
}

export function busSuite(setup: () => Promise<BusHarness>): void {
  let harness: BusHarness
  beforeAll(async () => {
    harness = await setup()
  })
  afterAll(() => harness?.dispose())

  const open = async (topics: TopicSpec[], queueBytesMax?: number): Promise<Bus> => {
    const bus = harness.create({ topics, ...(queueBytesMax === undefined ? {} : { queueBytesMax }) })
    await bus.start()
    onTestFinished(() => bus.stop(never))
    await bus.createTopics()
    return bus
  }

  describe('publish', () => {
    test('keeps the order of each key, over several partitions', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'order', topics: [spec.topic], onBatch: sink.onBatch })
      await Promise.all(Array.from({ length: 50 }, (_, i) => bus.publish(spec.topic, readings(20, 7, i * 20))))
      await until(() => sink.records.length === 1000)
      expectOrderedByKey(sink, 7)
      const partitions = new Set(sink.records.map(({ partition }) => partition))
      expect(partitions.size).toBeGreaterThan(1)
      for (const partition of partitions) {
        const offsets = sink.records.filter((record) => record.partition === partition).map(({ offset }) => offset)
        expect(offsets).toEqual(offsets.map((_, i) => BigInt(i)))
      }
    })

    test('keeps values, keys and headers byte for byte', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const bus = await open([spec])
      const sink = new Sink()
      const binary = Uint8Array.from({ length: 256 }, (_, i) => i)
      const records: BusRecord[] = [
        { key: 'schlüssel-€-😀', value: '{"wert":"Größe €"}', headers: { gateway: 'gw-1', unité: 'kΩ', leer: '' } },
        { key: null, value: binary, headers: {} },
        { key: '', value: new Uint8Array(0) },
        { key: 'k', value: '', headers: { seq: '4294967297' } },
        { key: 'x'.repeat(300), value: 'y'.repeat(70_000), headers: { gateway: 'z'.repeat(5_000) } },
      ]
      await bus.subscribe({ group: 'bytes', topics: [spec.topic], onBatch: sink.onBatch })
      const before = Date.now()
      await bus.publish(spec.topic, records)
      await until(() => sink.records.length === records.length)
      sink.records.forEach((record, i) => {
        const sent = records[i] as BusRecord
        expect(record.key).toBe(sent.key)
        expect(Buffer.compare(record.value, Buffer.from(sent.value as string))).toBe(0)
        expect({ ...record.headers }).toEqual(sent.headers ?? {})
        expect(record.topic).toBe(spec.topic)
        expect(Math.abs(record.timestampMs - before)).toBeLessThan(20_000)
      })
    })

    test('takes many records at once, and large ones', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'large', topics: [spec.topic], onBatch: sink.onBatch })
      await bus.publish(spec.topic, readings(20_000, 50))
      const large = Array.from({ length: 20 }, (_, i): BusRecord => {
        return { key: `INV-${i % 50}`, value: Buffer.alloc(256 * 1024, `${20_000 + i} `) }
      })
      await bus.publish(spec.topic, large)
      await until(() => sink.records.length === 20_020)
      expect(new Set(sink.records.map(({ partition, offset }) => `${partition}/${offset}`)).size).toBe(20_020)
      const sizes = sink.records.filter(({ value }) => value.length > 10).map(({ value }) => value.length)
      expect(sizes).toEqual(Array(20).fill(256 * 1024))
    })

    test('waits when its queue is full and loses nothing', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec], 64 * 1024)
      const value = 'v'.repeat(1000)
      let highest = 0
      const publishing = Array.from({ length: 400 }, async (_, i) => {
        await bus.publish(spec.topic, [{ key: `INV-${i % 5}`, value: `${i} ${value}` }])
        highest = Math.max(highest, bus.stats().queuedBytes)
      })
      expect(bus.stats().queuedBytes).toBeLessThan(70 * 1024)
      await Promise.all(publishing)
      expect(highest).toBeLessThan(70 * 1024)
      expect(bus.stats()).toMatchObject({ publishedRecords: 400, queuedRecords: 0, queuedBytes: 0 })
    })

    test('refuses a topic that does not exist, saying what to do', async () => {
      const bus = await open([uniqueTopic()])
      const refusal = {
        code: 'TOPIC_MISSING',
        message: expect.stringContaining('no-such-topic'),
        hint: expect.stringContaining('topics create'),
      }
      const topics = ['no-such-topic']
      const { onBatch } = new Sink()
      await expect(bus.publish('no-such-topic', readings(1, 1))).rejects.toMatchObject(refusal)
      await expect(bus.subscribe({ group: 'nowhere', topics, onBatch })).rejects.toMatchObject(refusal)
      await expect(bus.tail({ topics, onBatch })).rejects.toMatchObject(refusal)
    })

    test('accepts no records at all', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      await bus.publish(spec.topic, [])
    })
  })

  describe('a consumer group', () => {
    test('begins at the oldest record and goes on where it was after a restart', async () => {
      const spec = uniqueTopic()
      const first = await open([spec])
      await first.publish(spec.topic, readings(300, 5))
      const before = new Sink()
      await first.subscribe({ group: 'resume', topics: [spec.topic], onBatch: before.onBatch })
      await until(() => before.records.length === 300)
      await first.stop(never)

      const second = await open([spec])
      const after = new Sink()
      await second.publish(spec.topic, readings(50, 5, 300))
      await second.subscribe({ group: 'resume', topics: [spec.topic], onBatch: after.onBatch })
      await until(() => after.records.length === 50)
      expect(
        after
          .values()
          .map(Number)
          .sort((a, b) => a - b),
      ).toEqual(Array.from({ length: 50 }, (_, i) => 300 + i))
    })

    test('tells how far it has come, also where nobody reads', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      await bus.publish(spec.topic, readings(30, 5))
      const behind = async (group: string): Promise<number> => {
        const positions = await bus.positions(group, [spec.topic])
        expect(positions.map(({ partition }) => partition).toSorted()).toEqual(
          Array.from({ length: spec.partitions }, (_, i) => i),
        )
        return positions.reduce((sum, { nextOffset, endOffset }) => sum + Number(endOffset - nextOffset), 0)
      }
      expect(await behind('nobody')).toBe(30)
      let release = (): void => {}
      const held = new Promise<void>((resolve) => {
        release = resolve
      })
      const sink = new Sink()
      await bus.subscribe({
        group: 'far',
        topics: [spec.topic],
        onBatch: (batch) => held.then(() => sink.onBatch(batch)),
      })
      expect(await behind('far')).toBe(30)
      release()
      await until(async () => (await behind('far')) === 0)
      expect(sink.records).toHaveLength(30)
      expect(await behind('nobody')).toBe(30)
    })

    test('delivers a batch again when its handler rejects, and nothing behind it before', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      sink.failing = true
      await bus.subscribe({ group: 'redelivery', topics: [spec.topic], onBatch: sink.onBatch })
      await bus.publish(spec.topic, readings(100, 4))
      await until(() => sink.rejected >= 3)
      await bus.publish(spec.topic, readings(100, 4, 100))
      expect(sink.records).toEqual([])
      sink.failing = false
      await until(() => sink.records.length === 200)
      expectOrderedByKey(sink, 4)
      expect(bus.stats().redeliveredBatches).toBeGreaterThanOrEqual(3)
    })

    test('receives again what its handler had not finished when the bus stopped', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const first = await open([spec])
      const failing = new Sink()
      failing.failing = true
      await first.subscribe({ group: 'unfinished', topics: [spec.topic], onBatch: failing.onBatch })
      await first.publish(spec.topic, readings(10, 1))
      await until(() => failing.rejected >= 1)
      await first.stop(never)
      const second = await open([spec])
      const sink = new Sink()
      await second.subscribe({ group: 'unfinished', topics: [spec.topic], onBatch: sink.onBatch })
      await until(() => sink.records.length === 10)
    })

    test('shares the partitions among its members, and gives them back', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const [a, b] = [new Sink(), new Sink()]
      await bus.subscribe({ group: 'shared', topics: [spec.topic], onBatch: a.onBatch })
      const leaving = await bus.subscribe({ group: 'shared', topics: [spec.topic], onBatch: b.onBatch })
      let sent = 0
      await until(async () => {
        await bus.publish(spec.topic, readings(60, 12, sent))
        sent += 60
        return a.records.length > 0 && b.records.length > 0
      })
      await leaving.stop()
      const left = b.records.length
      await bus.publish(spec.topic, readings(60, 12, sent))
      sent += 60
      await until(() => new Set([...a.values(), ...b.values()]).size === sent)
      expect(b.records.length).toBe(left)
    })

    test('is independent of other groups', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const [a, b] = [new Sink(), new Sink()]
      b.failing = true
      await bus.subscribe({ group: 'first', topics: [spec.topic], onBatch: a.onBatch })
      await bus.subscribe({ group: 'second', topics: [spec.topic], onBatch: b.onBatch })
      await bus.publish(spec.topic, readings(40, 4))
      await until(() => a.records.length === 40 && b.rejected > 0)
      b.failing = false
      await until(() => b.records.length === 40)
    })

    test('stops while busy: the batch in hand is finished and committed', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const bus = await open([spec])
      let begun = 0
      let finished = 0
      const release = Promise.withResolvers<void>()
      const subscription = await bus.subscribe({
        group: 'busy',
        topics: [spec.topic],
        onBatch: async ({ records }) => {
          begun += records.length
          await release.promise
          finished += records.length
        },
      })
      await bus.publish(spec.topic, readings(5, 1))
      await until(() => begun > 0)
      const stopping = subscription.stop()
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(finished).toBe(0)
      release.resolve()
      await stopping
      expect(finished).toBe(begun)
      const after = new Sink()
      await bus.subscribe({ group: 'busy', topics: [spec.topic], onBatch: after.onBatch })
      await bus.publish(spec.topic, readings(1, 1, 99))
      await until(() => after.values().includes('99'))
      expect(after.records.length).toBe(5 - finished + 1)
    })
  })

  describe('tail', () => {
    test('sees every partition from now on and leaves no trace', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      await bus.publish(spec.topic, readings(50, 9))
      const [a, b] = [new Sink(), new Sink()]
      const first = await bus.tail({ topics: [spec.topic], onBatch: a.onBatch })
      await bus.tail({ topics: [spec.topic], onBatch: b.onBatch })
      await bus.publish(spec.topic, readings(50, 9, 50))
      await until(() => a.records.length >= 50 && b.records.length >= 50)
      for (const sink of [a, b]) {
        expect(
          sink
            .values()
            .map(Number)
            .sort((x, y) => x - y),
        ).toEqual(Array.from({ length: 50 }, (_, i) => 50 + i))
      }
      await first.stop()
      await bus.publish(spec.topic, readings(10, 9, 100))
      await until(() => b.records.length === 60)
      expect(a.records.length).toBe(50)
    })
  })

  busUsersSuite(open)
  busAtomicSuite(open)

  describe('topics', () => {
    test('are created once and left alone afterwards', async () => {
      const specs = [uniqueTopic(), uniqueTopic({ partitions: 5 })]
      const bus = harness.create({ topics: specs })
      await bus.start()
      onTestFinished(() => bus.stop(never))
      const names = specs.map(({ topic }) => topic)
      const missing = names.map((topic) => ({ topic, setting: 'missing', expected: null, actual: null }))
      expect(await bus.checkTopics()).toEqual(missing)
      expect([...(await bus.createTopics())].sort()).toEqual([...names].sort())
      expect(await bus.createTopics()).toEqual([])
      expect(await bus.checkTopics()).toEqual([])
    })

    test('that differ from the catalogue are reported', async () => {
      const spec = uniqueTopic()
      const first = await open([spec])
      await first.stop(never)
      const second = harness.create({ topics: [{ ...spec, partitions: 6, retentionMs: 2 * DAY_MS }] })
      await second.start()
      onTestFinished(() => second.stop(never))
      expect(await second.createTopics()).toEqual([])
      expect(await second.checkTopics()).toEqual([
        { topic: spec.topic, setting: 'partitions', expected: 6, actual: 3 },
        { topic: spec.topic, setting: 'retentionMs', expected: 2 * DAY_MS, actual: DAY_MS },
      ])
    })
  })

  describe('stop', () => {
    test('finishes what was published, refuses more, and may be called twice', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const publishing = bus.publish(spec.topic, readings(500, 5))
      await Promise.all([bus.stop(never), publishing])
      await bus.stop(never)
      await expect(bus.publish(spec.topic, readings(1, 1))).rejects.toMatchObject({ code: 'BUS_STOPPED' })
    })

    test('lets go at the deadline though a handler hangs', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      let begun = false
      await bus.subscribe({
        group: 'hanging',
        topics: [spec.topic],
        onBatch: () => {
          begun = true
          return new Promise(() => {})
        },
      })
      await bus.publish(spec.topic, readings(1, 1))
      await until(() => begun)
      await bus.stop(AbortSignal.timeout(200))
    })
  })

  test('health is up while it runs', async () => {
    const bus = await open([uniqueTopic()])
    expect(bus.health()).toEqual({ state: 'up' })
  })
}
