import kafkajs from 'kafkajs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { catalogue, type TopicSpec, TYPING_EVENTS } from '../../../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { until } from '../../../support/until.ts'

let kafka: TestKafka

async function open(topics: readonly TopicSpec[]): Promise<KafkaBus> {
  const { brokers } = kafka
  const bus = new KafkaBus({ brokers, topics, clock: systemClock, random: systemRandom, log: silentLogger })
  await bus.start()
  onTestFinished(() => bus.stop(AbortSignal.timeout(2_000)))
  return bus
}

async function admin(): Promise<kafkajs.Admin> {
  const client = new kafkajs.Kafka({ brokers: [...kafka.brokers], logLevel: kafkajs.logLevel.NOTHING }).admin()
  await client.connect()
  onTestFinished(() => client.disconnect())
  return client
}

const typing = (): TopicSpec => catalogue().find(({ topic }) => topic === TYPING_EVENTS) as TopicSpec

describeKafka('topics on a broker', () => {
  beforeAll(async () => {
    kafka = await startKafka()
  })
  afterAll(() => kafka?.stop())

  test('lose old records after a short retention, though they are written to all the time', async () => {
    const topic = { ...typing(), topic: 'typing-briefly', partitions: 1, retentionMs: 1_500 }
    const bus = await open([topic])
    await bus.createTopics()
    const client = await admin()
    await until(
      async () => {
        await bus.publish(topic.topic, [{ key: 'c1', value: '{"isTyping":true}' }])
        const [offsets] = await client.fetchTopicOffsets(topic.topic)
        return Number(offsets?.low) > 0
      },
      { pollMs: 100, what: 'the first records are gone' },
    )
  })

  test('that keep a week of records in one segment are reported where a minute is meant', async () => {
    const { topic, partitions } = typing()
    const client = await admin()
    const configEntries = [{ name: 'retention.ms', value: '60000' }]
    await client.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, configEntries }] })
    const bus = await open([typing()])
    expect(await bus.checkTopics()).toEqual([{ topic, setting: 'segmentMs', expected: 60_000, actual: 604_800_000 }])
  })
})
