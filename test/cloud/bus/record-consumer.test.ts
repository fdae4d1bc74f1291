import { afterEach, describe, expect, test } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { deadLetterTopicOf, TASK_ORCHESTRATION_GROUP, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import type { EmbeddedBus } from '../../../cloud/bus/embedded/embedded-bus.ts'
import {
  type ConsumedItem,
  RecordConsumer,
  type RecordConsumerOptions,
  type Unusable,
} from '../../../cloud/bus/record-consumer.ts'
import { systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { startParking } from '../../support/parking.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const never = new AbortController().signal
const DEAD_LETTERS = deadLetterTopicOf(TASK_REQUESTED)
const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

interface Task {
  readonly n: number
}

function decode({ value }: ConsumedRecord): Task | Unusable {
  const text = value.toString()
  if (text === 'throw') throw new Error('the decoder has a bug')
  const n = Number(text)
  return Number.isInteger(n) ? { n } : { unusable: 'NOT_A_NUMBER', message: `${text} is no number` }
}

async function consumer(
  bus: EmbeddedBus,
  handle: RecordConsumerOptions<Task>['handle'],
  options: Partial<RecordConsumerOptions<Task>> = {},
): Promise<RecordConsumer<Task>> {
  const parking = options.parking ?? (await startParking(bus)).parking
  const created = new RecordConsumer<Task>({
    name: 'tasks',
    bus,
    group: TASK_ORCHESTRATION_GROUP,
    topics: [TASK_REQUESTED],
    decode,
    handle,
    parking,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options,
  })
  stops.push(() => created.stop())
  return created
}

const publish = (bus: EmbeddedBus, values: readonly string[], key: string | null = 't') =>
  bus.publish(
    TASK_REQUESTED,
    values.map((value) => ({ key, value, headers: { from: 'somebody' } })),
  )

const numbers = (items: readonly ConsumedItem<Task>[]) => items.map(({ value }) => value.n)

describe('a consumer of records', () => {
  test('hands a whole batch over at once, in order', async () => {
    const bus = await embeddedBus()
    const batches: number[][] = []
    await publish(bus, ['0', '1', '2', '3'])
    await (await consumer(bus, async (items) => void batches.push(numbers(items)))).start()
    await until(() => batches.length > 0)
    expect(batches).toEqual([[0, 1, 2, 3]])
  })

  test('says how far it is behind the bus while a batch is in hand, and once it is done', async () => {
    const bus = await embeddedBus()
    const hold = Promise.withResolvers<void>()
    const tasks = await consumer(bus, () => hold.promise)
    await tasks.start()
    expect(tasks.stats().behindMs).toBe(0)
    await publish(bus, ['0'])
    await until(() => tasks.stats().behindMs > 50)
    hold.resolve()
    await until(() => tasks.stats().handled === 1)
    const { behindMs } = tasks.stats()
    expect(behindMs).toBeGreaterThan(50)
    // Known no longer by the clock but by what the batch was.
    await until(() => tasks.stats().behindMs === behindMs)
  })

  test('dead-letters what cannot be decoded at once, with the reason, and goes on', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    const handled: number[] = []
    const tasks = await consumer(bus, async (items) => void handled.push(...numbers(items)))
    await tasks.start()
    await publish(bus, ['0', '{"not":"a number"}', 'throw', '3'])
    await until(() => letters.records.length === 2)
    expect(handled).toEqual([0, 3])
    const [unusable, thrown] = letters.values(DEAD_LETTERS)
    const timestamp = expect.stringMatching(/^\d{4}-.*Z$/)
    expect(unusable).toEqual({
      not: 'a number',
      error: { code: 'NOT_A_NUMBER', message: '{"not":"a number"} is no number', timestamp, retryCount: 0 },
    })
    expect(thrown).toEqual({
      raw: Buffer.from('throw').toString('base64'),
      error: { code: 'DECODE_FAILED', message: 'the decoder has a bug', timestamp, retryCount: 0 },
    })
    expect(letters.records[0]).toMatchObject({
      key: 't',
      headers: {
        from: 'somebody',
        source: TASK_ORCHESTRATION_GROUP,
        originalTopic: TASK_REQUESTED,
        originalPartition: expect.any(String),
        originalOffset: '1',
      },
    })
    await until(() => tasks.stats().handled === 2)
    expect(tasks.stats()).toEqual({
      handled: 2,
      deadLettered: { NOT_A_NUMBER: 1, DECODE_FAILED: 1 },
      failing: null,
      behindMs: expect.any(Number),
      parkedRecords: 0,
      parkedKeys: 0,
      retried: 0,
      hurried: 0,
    })
  })

  test('tries a poison value as often as the policy says and dead-letters it; the rest is handled in order', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    const tries: number[] = []
    const handled: number[] = []
    await publish(bus, ['0', '1', '2', '13', '4', '14'])
    const handle = async (items: readonly ConsumedItem<Task>[]) => {
      if (items.length === 1) tries.push(...numbers(items))
      for (const { value } of items) {
        if (value.n === 13) throw new BusbarError('13 is refused', { code: 'UNLUCKY' })
        if (value.n === 14) throw new TypeError('undefined is not a function')
      }
      handled.push(...numbers(items))
    }
    await (await consumer(bus, handle)).start()
    await until(() => letters.records.length === 2)
    // One key: what stands behind the poison waits for its tries, three at once and two later, and none overtakes another.
    expect(handled).toEqual([0, 1, 2, 4])
    expect(tries).toEqual([13, 13, 13, 13, 13, 4, 14, 14, 14, 14, 14])
    expect(letters.values(DEAD_LETTERS).map(({ error }) => error)).toMatchObject([
      { code: 'UNLUCKY', message: '13 is refused', retryCount: 5 },
      { code: 'HANDLER_FAILED', message: 'undefined is not a function', retryCount: 5 },
    ])
  })

  test('a value that fails once is not given up', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    const handled: number[] = []
    let failures = 2
    const tasks = await consumer(bus, async (items) => {
      if (numbers(items).includes(1) && failures-- > 0) throw new Error('this once')
      handled.push(...numbers(items))
    })
    await publish(bus, ['0', '1', '2'])
    await tasks.start()
    await until(() => tasks.stats().handled === 3)
    expect([...handled].sort()).toEqual([0, 1, 2])
    expect(letters.records).toEqual([])
  })

  test('many poison values keep the others waiting no longer than one', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    const tasks = await consumer(bus, async (items) => {
      if (numbers(items).some((n) => n < 100)) throw new Error('poison')
    })
    const records = Array.from({ length: 120 }, (_, n) => ({ key: `key-${n}`, value: String(n) }))
    await bus.publish(TASK_REQUESTED, records)
    const startedMs = performance.now()
    await tasks.start()
    await until(() => letters.records.length === 100 && tasks.stats().handled === 20)
    // 100 times three tries 100 ms apart, one after the other, would take 20 s.
    expect(performance.now() - startedMs).toBeLessThan(10_000)
  })

  test('a database that refuses us, until somebody mends that, is the fault of no value', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    let refused = true
    let calls = 0
    const tasks = await consumer(bus, async () => {
      calls++
      if (refused) throw new BusbarError('wrong password', { code: 'DATABASE_REFUSED', hint: 'check database.url' })
    })
    await publish(bus, ['0', '1', '2'])
    await tasks.start()
    await until(() => calls >= 5)
    refused = false
    await until(() => tasks.stats().handled === 3)
    expect(letters.records).toEqual([])
  })

  test('while something it needs is away the batch comes again, and no try is used up', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    let away = true
    let calls = 0
    const tasks = await consumer(bus, async (items) => {
      calls++
      expect(items.length).toBe(3)
      if (away) throw new BusbarError('the database is away', { code: 'DATABASE_UNAVAILABLE', retryable: true })
    })
    await publish(bus, ['0', 'poison', '1', '2'])
    await tasks.start()
    await until(() => calls >= 5)
    expect(tasks.stats()).toMatchObject({ handled: 0, deadLettered: {}, failing: 'the database is away' })
    // Nothing was dead-lettered five times over.
    expect(letters.records).toEqual([])
    away = false
    await until(() => tasks.stats().handled === 3)
    await until(() => letters.records.length === 1)
    expect(tasks.stats().failing).toBe(null)
  })

  test('commits nothing before the dead letters are durable', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    let refused = 0
    const unsteady = {
      subscribe: bus.subscribe.bind(bus),
      publish: async (topic: string, records: Parameters<typeof bus.publish>[1]) => {
        if (refused++ < 2) throw new BusbarError('no broker answers', { code: 'PUBLISH_TIMEOUT', retryable: true })
        await bus.publish(topic, records)
      },
    }
    let handled = 0
    const count = async (items: readonly ConsumedItem<Task>[]) => {
      handled += items.length
    }
    const tasks = await consumer(bus, count, { bus: unsteady })
    await publish(bus, ['poison', '1'])
    await tasks.start()
    await until(() => letters.records.length === 1)
    expect(handled).toBe(3)
    await until(() => tasks.stats().handled === 1)
    await tasks.stop()
    // A consumer after it begins behind the batch.
    const next: number[] = []
    await (await consumer(bus, async (items) => void next.push(...numbers(items)))).start()
    await publish(bus, ['7'])
    await until(() => next.length > 0)
    expect(next).toEqual([7])
  })

  test('stops between two tries, and the batch comes again', async () => {
    const bus = await embeddedBus()
    const letters = await readTopics(bus, [DEAD_LETTERS])
    let tries = 0
    const first = await consumer(bus, async () => {
      tries++
      throw new Error('poison')
    })
    await publish(bus, ['1'])
    await first.start()
    await until(() => tries === 2)
    await first.stop()
    await first.stop()
    expect(letters.records).toEqual([])
    const handled: number[] = []
    await (await consumer(bus, async (items) => void handled.push(...numbers(items)))).start()
    await until(() => handled.length > 0)
    expect(handled).toEqual([1])
  })

  test('refuses to start on a topic that is not there', async () => {
    const bus = await embeddedBus()
    const lost = await consumer(bus, async () => {}, { topics: ['no-such-topic'] })
    await expect(lost.start()).rejects.toMatchObject({ code: 'TOPIC_MISSING' })
    await bus.stop(never)
  })
})
