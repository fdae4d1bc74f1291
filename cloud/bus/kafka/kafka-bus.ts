/** The bus on Apache Kafka, for any number of cores: our own producer, kafkajs to consume and administer. */

import type { Kafka } from 'kafkajs'
import { randomHex } from '../../../shared/random.ts'
import { retry } from '../../../shared/retry.ts'
import { aborted } from '../../../shared/waiting.ts'
import type {
  BatchHandler,
  Bus,
  BusRecord,
  BusStats,
  DependencyHealth,
  GroupPosition,
  PublishOptions,
  SubscribeOptions,
  Subscription,
  TopicDrift,
} from '../bus.ts'
import { TAIL_GROUP_PREFIX } from '../catalogue.ts'
import { busStopped } from '../topic-errors.ts'
import { nextStepAfter } from './advice.ts'
import { type KafkaBusOptions, type KafkaConfig, withDefaults } from './kafka-options.ts'
import { KafkaProducer } from './kafka-producer.ts'
import { KafkaSubscription, type KafkaSubscriptionOptions, positionId } from './kafka-subscription.ts'
import { kafkaJsClient } from './kafkajs-client.ts'
import { checkTopics, createTopics, deleteGroup, endOffsets, groupPositions } from './topic-admin.ts'

/**
 * How long a tail asks for where a topic ends. kafkajs gives that question up at the first broker that has just lost or not
 * yet taken a partition, as happens for seconds after topics were made and after a failover.
 */
const END_OFFSETS_PATIENCE_MS = 10_000
const END_OFFSETS_BACKOFF = { baseMs: 200, capMs: 1_000 }

export class KafkaBus implements Bus {
  readonly name = 'kafka bus'
  readonly kind = 'kafka'
  private readonly options: KafkaBusOptions
  private readonly config: KafkaConfig
  private readonly producer: KafkaProducer
  private readonly consuming: Kafka
  private readonly administering: Kafka
  private readonly subscriptions = new Set<KafkaSubscription>()
  private readonly stopping = new AbortController()
  private state: 'new' | 'running' | 'stopped' = 'new'
  private consumedRecords = 0
  private redeliveredBatches = 0

  constructor(options: KafkaBusOptions) {
    this.options = options
    this.config = withDefaults(options)
    this.producer = new KafkaProducer(options, this.config)
    this.consuming = kafkaJsClient(this.config, 'consume', options.log)
    this.administering = kafkaJsClient(this.config, 'administer', options.log)
  }

  /** Resolves also when no broker answers; `health` tells, and what is published waits. */
  async start(): Promise<void> {
    if (this.state !== 'new') return
    this.state = 'running'
    await this.producer.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    if (this.state !== 'running') return
    this.state = 'stopped'
    this.stopping.abort()
    const consumersStopped = Promise.all([...this.subscriptions].map((subscription) => subscription.stop()))
    // Handlers may publish while they finish, so the producer stops after them.
    await Promise.race([consumersStopped, aborted(deadline)])
    await this.producer.stop(deadline)
  }

  async publish(topic: string, records: readonly BusRecord[], options: PublishOptions = {}): Promise<void> {
    if (this.state === 'new') throw busStopped()
    await this.producer.publish(topic, records, options)
  }

  async subscribe({ gatherMs = 0, ...options }: SubscribeOptions): Promise<Subscription> {
    return this.follow({ ...options, tailFrom: null, gatherMs })
  }

  async tail(options: { topics: readonly string[]; onBatch: BatchHandler }): Promise<Subscription> {
    const from = new Map<string, bigint>()
    for (const topic of options.topics) {
      await this.producer.requireTopic(topic)
      const existing = await this.endOffsets(topic)
      for (const { partition, nextOffset } of existing) from.set(positionId(topic, partition), nextOffset)
    }
    const group = TAIL_GROUP_PREFIX + randomHex(this.options.random, 8)
    const subscription = await this.follow({ ...options, group, tailFrom: from, gatherMs: 0 })
    return {
      stop: async () => {
        await subscription.stop()
        await deleteGroup(this.administering, group)
      },
    }
  }

  positions(group: string, topics: readonly string[]): Promise<readonly GroupPosition[]> {
    return groupPositions(this.administering, group, topics)
  }

  createTopics(): Promise<readonly string[]> {
    return createTopics(this.administering, this.options.topics, this.config)
  }

  checkTopics(): Promise<readonly TopicDrift[]> {
    return checkTopics(this.administering, this.options.topics, this.config)
  }

  health(): DependencyHealth {
    if (this.state !== 'running') return { state: 'down', detail: 'the bus is not running' }
    const producing = this.producer.health()
    if (producing.state !== 'up') return producing
    for (const { unhealthy } of this.subscriptions) {
      if (unhealthy === null) continue
      return { state: 'degraded', detail: `${unhealthy}. ${nextStepAfter(unhealthy, this.config.brokers)}.` }
    }
    return producing
  }

  stats(): BusStats {
    const { consumedRecords, redeliveredBatches } = this
    return { ...this.producer.stats(), consumedRecords, redeliveredBatches }
  }

  private endOffsets(topic: string): ReturnType<typeof endOffsets> {
    const { clock, random } = this.options
    const giveUpAtMs = clock.monotonicMs() + END_OFFSETS_PATIENCE_MS
    return retry(() => endOffsets(this.administering, topic), {
      clock,
      random,
      backoff: END_OFFSETS_BACKOFF,
      signal: this.stopping.signal,
      isRetryable: () => clock.monotonicMs() < giveUpAtMs,
    })
  }

  private async follow(
    what: Pick<KafkaSubscriptionOptions, 'group' | 'topics' | 'onBatch' | 'tailFrom' | 'gatherMs' | 'batchRecordsMax'>,
  ): Promise<Subscription> {
    if (this.state !== 'running') throw busStopped()
    for (const topic of what.topics) await this.producer.requireTopic(topic)
    const subscription = new KafkaSubscription({
      ...what,
      kafka: this.consuming,
      config: this.config,
      bus: this.options,
      onConsumed: (records) => {
        this.consumedRecords += records
      },
      onRedelivered: () => {
        this.redeliveredBatches++
      },
    })
    this.subscriptions.add(subscription)
    const stop = async (): Promise<void> => {
      await subscription.stop()
      this.subscriptions.delete(subscription)
    }
    try {
      await subscription.start()
    } catch (error) {
      await stop()
      throw error
    }
    return { stop }
  }
}
