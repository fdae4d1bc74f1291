/** What a broker's answers to produce requests do: records that it will not have, and partitions that nobody leads. */

import kafkajs from 'kafkajs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { BusRecord, ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import type { KafkaSettings } from '../../../../cloud/bus/kafka/kafka-options.ts'
import { Partitioner } from '../../../../cloud/bus/partitioner.ts'
import { storedOf } from '../../../../cloud/bus/publish-error.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { until } from '../../../support/until.ts'

const TIMEOUT_MS = 120_000
const BYTES_MAX = 20_000
let kafka: TestKafka
let topics = 0

function specOf(topic: string, partitions: number): TopicSpec {
  return {
    topic,
    key: 'any',
    partitions,
    retentionMs: 86_400_000,
    cleanup: 'delete',
    producers: [],
    groups: [],
    deadLetterTopic: null,
  }
}

async function withAdmin<T>(use: (admin: kafkajs.Admin) => Promise<T>): Promise<T> {
  const { brokers } = kafka
  const admin = new kafkajs.Kafka({
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 1 },
  }).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Node that leads each partition, -1 for none. */
function leadersOf(topic: string): Promise<number[]> {
  return withAdmin(async (admin) => {
    const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = metadata.topics[0]?.partitions ?? []
    return partitions.sort((a, b) => a.partitionId - b.partitionId).map(({ leader }) => leader)
  })
}

/** The client that is asked rejects the answer when one partition has no leader. */
function leaderless(topic: string): Promise<boolean> {
  return leadersOf(topic).then(
    () => false,
    (error: unknown) => String(error).includes('leadership election'),
  )
}

/** A new topic, and a bus that knows it. */
async function open(
  given: { partitions: number; replicas?: number; settings?: Record<string, string> },
  settings: Partial<KafkaSettings> = {},
): Promise<{ topic: string; bus: KafkaBus }> {
  const topic = `produce-${++topics}`
  await withAdmin((admin) =>
    admin.createTopics({
      waitForLeaders: true,
      topics: [
        {
          topic,
          numPartitions: given.partitions,
          replicationFactor: given.replicas ?? 1,
          configEntries: Object.entries(given.settings ?? {}).map(([name, value]) => ({ name, value })),
        },
      ],
    }),
  )
  return { topic, bus: await connect(topic, given.partitions, settings) }
}

async function connect(topic: string, partitions: number, settings: Partial<KafkaSettings> = {}): Promise<KafkaBus> {
  const bus = new KafkaBus({
    brokers: kafka.brokers,
    compression: 'none',
    ...settings,
    topics: [specOf(topic, partitions)],
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  await bus.start()
  onTestFinished(() => bus.stop(AbortSignal.timeout(3_000)))
  return bus
}

async function read(bus: KafkaBus, topic: string): Promise<ConsumedRecord[]> {
  const records: ConsumedRecord[] = []
  await bus.subscribe({
    group: `check-${topic}`,
    topics: [topic],
    onBatch: async (batch) => void records.push(...batch.records),
  })
  return records
}

/** A key of each partition, by partition. */
function keysOf(partitions: number): string[] {
  const partitioner = new Partitioner()
  const keys: string[] = []
  for (let i = 0; keys.filter(Boolean).length < partitions; i++) {
    keys[partitioner.partitionOf(`INV-${i}`, partitions)] ??= `INV-${i}`
  }
  return keys
}

describeKafka('a topic that takes small batches only', () => {
  beforeAll(async () => {
    kafka = await startKafka()
  })
  afterAll(() => kafka?.stop())

  const small = { partitions: 1, settings: { 'max.message.bytes': String(BYTES_MAX) } }
  const values = (from: number, count: number): BusRecord[] =>
    Array.from({ length: count }, (_, i) => ({ key: 'k', value: `${from + i} ${'x'.repeat(90)}` }))
  const numbers = (records: readonly ConsumedRecord[]) => records.map(({ value }) => Number.parseInt(String(value), 10))

  test('gets larger ones in halves, in order, and nothing twice', async () => {
    const { topic, bus } = await open(small)
    await Promise.all([bus.publish(topic, values(0, 1_500)), bus.publish(topic, values(1_500, 700))])
    const records = await read(bus, topic)
    await until(() => records.length >= 2_200)
    expect(numbers(records)).toEqual(Array.from({ length: 2_200 }, (_, i) => i))
    expect(bus.stats()).toMatchObject({ publishedRecords: 2_200, queuedRecords: 0, queuedBytes: 0 })
    expect(bus.health()).toEqual({ state: 'up' })
  })

  test('refuses one record that is too large, by name, and takes what is around it', async () => {
    const { topic, bus } = await open(small)
    const huge: BusRecord = { key: 'INV-9', value: 'x'.repeat(30_000) }
    const before = bus.publish(topic, values(0, 300))
    const mixed = bus.publish(topic, [...values(300, 100), huge, ...values(400, 100)])
    const after = bus.publish(topic, values(500, 300))
    const error = await mixed.then(
      () => null,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'RECORD_TOO_LARGE', retryable: false, hint: expect.stringContaining('Raise') })
    const { message } = error as Error
    expect(message).toContain(topic)
    expect(message).toContain('INV-9')
    expect(message).toMatch(/takes 30\d\d\d bytes/)
    expect(message).toContain(`${BYTES_MAX} bytes`)
    expect(storedOf(error)).toEqual(Array.from({ length: 201 }, (_, i) => i).filter((i) => i !== 100))
    await Promise.all([before, after])
    await expect(bus.publish(topic, [huge])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' })
    const records = await read(bus, topic)
    await until(() => records.length >= 800)
    expect(numbers(records)).toEqual(Array.from({ length: 800 }, (_, i) => i))
    expect(bus.stats()).toMatchObject({ queuedRecords: 0, queuedBytes: 0, failures: { RECORD_TOO_LARGE: 2 } })
    expect(bus.health()).toEqual({ state: 'up' })
  })

  const atomic = { atomic: true }
  const of = (key: string, name: string, count: number): BusRecord[] =>
    Array.from({ length: count }, (_, i) => ({ key, value: `${name} ${i} ${'x'.repeat(90)}` }))
  const counted = (records: readonly ConsumedRecord[]) => {
    return Object.fromEntries(
      [...Map.groupBy(records, ({ value }) => String(value).split(' ')[0] as string)].map(([name, { length }]) => [
        name,
        length,
      ]),
    )
  }

  test('keeps what is published as one in one batch when it halves what is around it, or refuses all of it', async () => {
    const { topic, bus } = await open(small)
    const [before, whole, tooMany, after] = [
      bus.publish(topic, of('k', 'before', 900)),
      bus.publish(topic, of('k', 'whole', 100), atomic),
      bus.publish(topic, of('k', 'tooMany', 400), atomic).catch((error: unknown) => error),
      bus.publish(topic, of('k', 'after', 900)),
    ]
    expect(await tooMany).toMatchObject({ code: 'BATCH_TOO_LARGE', retryable: false })
    expect(storedOf(await tooMany)).toEqual([])
    await Promise.all([before, whole, after])
    const records = await read(bus, topic)
    await until(() => records.length >= 1_900)
    expect(counted(records)).toEqual({ before: 900, whole: 100, after: 900 })
    expect(bus.stats()).toMatchObject({ publishedRecords: 1_900, queuedRecords: 0, queuedBytes: 0 })
  })

  test('refuses all that is published as one to several partitions for one that is too large, and no other publish', async () => {
    const { topic, bus } = await open({ ...small, partitions: 3 })
    const [a, b, c] = keysOf(3) as [string, string, string]
    const spread = (name: string) => [a, b, c].flatMap((key) => of(key, name, 3))
    // The first is on its way when the others come, which gather for one transaction.
    const first = bus.publish(topic, spread('first'), atomic)
    const tooLarge = [...spread('tooLarge'), { key: a, value: `tooLarge ${'x'.repeat(30_000)}` }]
    const refused = bus.publish(topic, tooLarge, atomic).catch((error: unknown) => error)
    const good = bus.publish(topic, spread('good'), atomic)
    expect(await refused).toMatchObject({ code: expect.stringMatching(/^(RECORD|BATCH)_TOO_LARGE$/), retryable: false })
    expect(storedOf(await refused)).toEqual([])
    await Promise.all([first, good])
    const records = await read(bus, topic)
    await until(() => records.length >= 18)
    await bus.publish(topic, of(a, 'last', 1))
    await until(() => records.length >= 19)
    expect(counted(records)).toEqual({ first: 9, good: 9, last: 1 })
    expect(bus.stats()).toMatchObject({ publishedRecords: 19, queuedRecords: 0, queuedBytes: 0 })
    expect(bus.health()).toEqual({ state: 'up' })
  })
})

describeKafka('three brokers', () => {
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 3 })
  }, TIMEOUT_MS)
  afterAll(() => kafka?.stop())

  test('a partition that nobody leads holds up no other, and says which records are stored', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { topic, bus: first } = await open({ partitions: 3 })
    const keys = keysOf(3)
    await first.publish(
      topic,
      keys.map((key) => ({ key, value: 'before' })),
    )
    const leaders = await leadersOf(topic)
    // Node ids count from 1; one replica each, so the partition goes with its broker.
    const dead = (leaders[0] as number) - 1
    await kafka.kill(dead)
    const live = keys.filter((_, partition) => leaders[partition] !== dead + 1)
    expect(live.length).toBeGreaterThan(0)
    // Until then the metadata still name the dead broker, and nothing is amiss with them.
    await until(() => leaderless(topic), { what: 'the controller gives the partition up' })
    // One that has never known who led it, and one that did.
    const second = await connect(topic, 3, { publishTimeoutMs: 4_000 })
    for (const bus of [first, second]) {
      await until(() =>
        bus
          .publish(
            topic,
            live.map((key) => ({ key, value: 'meanwhile' })),
          )
          .then(() => true),
      )
      const startedMs = performance.now()
      await bus.publish(
        topic,
        live.map((key) => ({ key, value: 'meanwhile' })),
      )
      expect(performance.now() - startedMs).toBeLessThan(3_000)
    }
    const error = await second
      .publish(
        topic,
        keys.map((key) => ({ key, value: 'partly' })),
      )
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'PUBLISH_TIMEOUT', retryable: true })
    expect(storedOf(error)).toEqual(keys.flatMap((key, index) => (live.includes(key) ? [index] : [])))
    const waiting = first.publish(topic, [{ key: keys[0] as string, value: 'at last' }])
    await kafka.restart(dead)
    await waiting
  })

  test('a follower that does not answer in time is told by the leader, who is not given up', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { topic } = await open({ partitions: 3, replicas: 3 })
    const leader = (await leadersOf(topic))[0] as number
    const key = keysOf(3)[0] as string
    // Asked first, the leader is also who tells about the topic, so nothing but replication waits for the other one.
    const brokers = kafka.brokers.map((_, node) => kafka.brokers[(leader - 1 + node) % 3] as string)
    const bus = await connect(topic, 3, { brokers, requestTimeoutMs: 1_200 })
    await bus.publish(topic, [{ key, value: 'before' }])
    const follower = leader % 3
    kafka.freeze(follower)
    try {
      await bus.publish(topic, [{ key, value: 'meanwhile' }])
    } finally {
      kafka.thaw(follower)
    }
    // Each of these was the leader's answer; 'away' would be our own patience.
    expect(bus.stats().failures).toEqual({ moved: expect.any(Number) })
  })
})
