/** A Kafka broker of a section's own, fresh, so that no topic holds what another section wrote. */

import kafkajs from 'kafkajs'
import { startKafka } from '../support/kafka.ts'
import { kafkaMissing } from '../support/kafka-jars.ts'
import type { Bench } from './figure.ts'

export interface BenchKafka {
  readonly brokers: readonly string[]
  /** Records that a topic has taken in, over all partitions; 0 when it does not exist. */
  endOffset(topic: string): Promise<number>
  stop(): Promise<void>
}

/** Null where Kafka cannot run; the bench says why. */
export async function benchKafka(bench: Bench, section: string): Promise<BenchKafka | null> {
  const missing = kafkaMissing()
  if (missing !== null) {
    bench.skip(`${section} to Kafka: ${missing}`)
    return null
  }
  bench.say('starting Kafka')
  const kafka = await startKafka()
  const admin = new kafkajs.Kafka({
    brokers: [...kafka.brokers],
    clientId: 'busbar-bench',
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin()
  await admin.connect()
  return {
    brokers: kafka.brokers,
    async endOffset(topic) {
      const offsets = await admin.fetchTopicOffsets(topic).catch(() => [])
      return offsets.reduce((sum, { offset }) => sum + Number(offset), 0)
    },
    async stop() {
      await admin.disconnect()
      await kafka.stop()
    },
  }
}
