import kafkajs from 'kafkajs'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { catalogue, DEVICE_STATUS } from '../../../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { until } from '../../../support/until.ts'

let kafka: TestKafka

/** Sum over the partitions of what the group has committed. */
async function committed(group: string): Promise<number> {
  const client = new kafkajs.Kafka({ brokers: [...kafka.brokers], logLevel: kafkajs.logLevel.NOTHING }).admin()
  await client.connect()
  try {
    const topics = await client.fetchOffsets({ groupId: group, topics: [DEVICE_STATUS] })
    const offsets = topics.flatMap(({ partitions }) => partitions.map(({ offset }) => Number(offset)))
    return offsets.filter((offset) => offset > 0).reduce((sum, offset) => sum + offset, 0)
  } finally {
    await client.disconnect()
  }
}

describeKafka('commits to a broker', () => {
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 1 })
  })
  afterAll(() => kafka?.stop())

  test('that was silent when they were due are made up for, without another record', { timeout: 60_000 }, async () => {
    const bus = new KafkaBus({
      brokers: kafka.brokers,
      requestTimeoutMs: 1_000,
      topics: catalogue(),
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    await bus.start()
    onTestFinished(() => bus.stop(AbortSignal.timeout(3_000)))
    await bus.createTopics()
    let handled = 0
    await bus.subscribe({
      group: 'silent',
      topics: [DEVICE_STATUS],
      onBatch: async ({ records }) => {
        handled += records.length
        if (handled === 30) kafka.freeze()
      },
    })
    await bus.publish(
      DEVICE_STATUS,
      Array.from({ length: 30 }, (_, i) => ({ key: `INV-${i}`, value: '{}' })),
    )
    await until(() => handled === 30)
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    kafka.thaw()
    await until(async () => (await committed('silent')) === 30, { pollMs: 200, what: 'everything is committed' })
    expect(handled).toBe(30)
  })
})
