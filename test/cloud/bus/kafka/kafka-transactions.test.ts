/** Transactions of Kafka that end in the middle: what whoever reads only what is committed sees of them. */

import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { BusRecord } from '../../../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../../../cloud/bus/catalogue.ts'
import { BrokerClient, type ProducerIdentity } from '../../../../cloud/bus/kafka/broker-client.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import { withDefaults } from '../../../../cloud/bus/kafka/kafka-options.ts'
import { frameBatch, RecordsBuilder } from '../../../../cloud/bus/kafka/record-batch.ts'
import { TransactionClient } from '../../../../cloud/bus/kafka/transaction-client.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { Sink, uniqueTopic } from '../../../contract/bus-fixtures.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { readTopic } from '../../../support/kcat.ts'
import { until } from '../../../support/until.ts'

const KEYS = ['ann', 'ben', 'cleo', 'dan', 'eve', 'fay']
let kafka: TestKafka

async function open(specs: TopicSpec[]): Promise<KafkaBus> {
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  const bus = new KafkaBus({ brokers: kafka.brokers, topics: specs, ...tools })
  await bus.start()
  onTestFinished(() => bus.stop(AbortSignal.timeout(3_000)))
  await bus.createTopics()
  return bus
}

/** A publisher whose transaction goes as far as the test lets it. */
class Publisher {
  private readonly client = new BrokerClient(withDefaults({ brokers: kafka.brokers }))
  private readonly transactions: TransactionClient
  private identity: ProducerIdentity | null = null

  constructor(transactionalId: string) {
    this.transactions = new TransactionClient(this.client, transactionalId)
    onTestFinished(() => this.client.close())
  }

  /** Begins anew, which aborts what the last one of this id left open. */
  async begin(): Promise<void> {
    const drawn = await until(() => this.transactions.begin().catch(() => null))
    this.identity = drawn as ProducerIdentity
  }

  async produce(topic: string, partition: number, value: string): Promise<void> {
    const identity = this.identity as ProducerIdentity
    await this.transactions.addPartitions(identity, [{ name: topic, partitions: [partition] }])
    const builder = new RecordsBuilder(0)
    builder.add({ key: 'k', value }, systemClock.wallMs())
    const { recordCount: count, firstTimestampMs, maxTimestampMs } = builder
    const batch = { bytes: builder.finish(), codec: 0, count, firstTimestampMs, maxTimestampMs }
    const framed = frameBatch(batch, { ...identity, sequence: 0, isTransactional: true })
    const leader = (await this.client.leaders(topic))[partition] as number
    const { transactionalId } = this.transactions
    expect(await this.client.produce(leader, topic, partition, framed, transactionalId)).toBe(0)
  }
}

async function valuesByKcat(topic: string, isolation: string): Promise<string[]> {
  const records = await readTopic(kafka.brokers, topic, ['-X', `isolation.level=${isolation}`])
  return records.map(({ payload }) => payload).sort()
}

async function isBehindByNothing(bus: KafkaBus, group: string, topic: string): Promise<boolean> {
  const positions = await bus.positions(group, [topic])
  return positions.every(({ nextOffset, endOffset }) => nextOffset === endOffset)
}

describeKafka('a transaction', () => {
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 })
  })
  afterAll(() => kafka?.stop())

  test('whose publisher dies in the middle is seen by nobody, and holds nobody up once it is aborted', async () => {
    const spec = uniqueTopic()
    const { topic } = spec
    const bus = await open([spec])
    const sink = new Sink()
    await bus.subscribe({ group: topic, topics: [topic], onBatch: sink.onBatch })
    const dying = new Publisher('busbar-tx-dying')
    await dying.begin()
    await dying.produce(topic, 0, 'of one partition of two')
    const committed = KEYS.map((key): BusRecord => ({ key, value: `of ${key}` }))
    await bus.publish(topic, committed, { atomic: true })
    await new Publisher('busbar-tx-dying').begin()
    await until(() => sink.records.length >= committed.length)
    await until(() => isBehindByNothing(bus, topic, topic))
    const values = committed.map(({ value }) => String(value)).sort()
    expect(sink.values().sort()).toEqual(values)
    // It was there all the same.
    expect(await valuesByKcat(topic, 'read_uncommitted')).toEqual([...values, 'of one partition of two'].sort())
    expect(await valuesByKcat(topic, 'read_committed')).toEqual(values)
  })

  test('that is aborted before one that began earlier is hidden as that is', async () => {
    const spec = uniqueTopic({ partitions: 1 })
    const { topic } = spec
    const bus = await open([spec])
    const [earlier, later] = [new Publisher('busbar-tx-earlier'), new Publisher('busbar-tx-later')]
    await earlier.begin()
    await later.begin()
    await earlier.produce(topic, 0, 'never committed')
    await later.produce(topic, 0, 'nor this')
    await later.begin()
    await earlier.begin()
    await bus.publish(topic, [{ key: 'k', value: 'after them' }])
    const sink = new Sink()
    await bus.subscribe({ group: topic, topics: [topic], onBatch: sink.onBatch })
    await until(() => sink.values().includes('after them'))
    expect(sink.values()).toEqual(['after them'])
    await until(() => isBehindByNothing(bus, topic, topic))
  })

  test('asks another broker who coordinates it when the one that it asked is dead', async () => {
    const client = new BrokerClient(withDefaults({ brokers: kafka.brokers }))
    onTestFinished(() => client.close())
    const dead = 99
    const around = {
      connection: (lane: number, node: number) => client.connection(lane, node),
      anyNode: async (failures = 0) => (failures === 0 ? dead : client.anyNode(failures)),
    } as BrokerClient
    const transactions = new TransactionClient(around, 'busbar-tx-asking')
    await expect(transactions.begin()).rejects.toMatchObject({ code: 'KAFKA_BROKER_AWAY' })
    expect(await until(() => transactions.begin().catch(() => null))).toMatchObject({ producerEpoch: 0 })
  })

  test('is there as a whole or not at all when its broker is killed, and is carried through when it is back', {
    timeout: 60_000,
  }, async () => {
    const spec = uniqueTopic()
    const bus = await open([spec])
    const batch = (number: number) => KEYS.map((key): BusRecord => ({ key, value: `${number} ${key}` }))
    let published = 0
    const publishing = Array.from({ length: 4 }, async (_, publisher) => {
      for (let i = 0; i < 25; i++) {
        await bus.publish(spec.topic, batch(publisher * 100 + i), { atomic: true })
        published++
      }
    })
    await until(() => published >= 20)
    await kafka.kill()
    await kafka.restart()
    await Promise.all(publishing)
    const values = await valuesByKcat(spec.topic, 'read_committed')
    const ofBatch = Map.groupBy(values, (value) => value.split(' ')[0] as string)
    expect(ofBatch.size).toBe(100)
    for (const [number, found] of ofBatch)
      expect([...new Set(found)]).toEqual(batch(Number(number)).map(({ value }) => value))
    for (const found of ofBatch.values()) expect(found.length % KEYS.length).toBe(0)
    expect(bus.health()).toEqual({ state: 'up' })
  })
})
