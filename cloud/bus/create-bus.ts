/** Chooses the bus: Kafka when there are brokers, otherwise the embedded log. */

import { TOPIC_SCHEMAS } from '../../proto/generated/avro/topic-schemas.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus } from './bus.ts'
import { catalogue } from './catalogue.ts'
import { EmbeddedBus } from './embedded/embedded-bus.ts'
import { EncodedBus } from './encoding/encoded-bus.ts'
import type { SchemaRegistrySettings } from './encoding/schema-registry.ts'
import { KafkaBus } from './kafka/kafka-bus.ts'
import type { KafkaSettings } from './kafka/kafka-options.ts'

export interface BusOptions {
  readonly kafka?: KafkaSettings
  /** On Kafka, so that values may be Avro. Topics that are not among `avroTopics` are written as JSON; both are read. */
  readonly encoding?: { readonly registry: SchemaRegistrySettings; readonly avroTopics: readonly string[] }
  /** Used when `kafka` is not given. `bytesMax` is of stored bytes, default 10 GiB. */
  readonly embedded?: { readonly dir: string; readonly bytesMax?: number }
  /** Partitions of the device topics, at least 3. Default 3. */
  readonly deviceTopicPartitions?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export function createBus(options: BusOptions): Bus {
  const { kafka, encoding, embedded, deviceTopicPartitions, clock, random, log } = options
  const topics = catalogue(deviceTopicPartitions === undefined ? {} : { deviceTopicPartitions })
  if (kafka !== undefined && kafka.brokers.length > 0) {
    const bus = new KafkaBus({ ...kafka, topics, clock, random, log })
    return encoding === undefined ? bus : new EncodedBus({ ...encoding, bus, schemas: TOPIC_SCHEMAS, clock, log })
  }
  if (embedded === undefined) throw new Error('a bus needs kafka.brokers or a directory for the embedded log')
  return new EmbeddedBus({ ...embedded, topics, clock, random, log })
}
