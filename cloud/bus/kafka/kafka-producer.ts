/**
 * Publishes to Kafka: shares records out to the queues of their partitions and carries each batch through retries, lost
 * brokers and elections until it is stored or its time is over.
 */

import { sleep, type Timer } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { fullJitterMs } from '../../../shared/retry.ts'
import { aborted, nextTurn } from '../../../shared/waiting.ts'
import { atomicBytes } from '../atomic.ts'
import type { BusRecord, BusStats, DependencyHealth, PublishOptions } from '../bus.ts'
import { Partitioner } from '../partitioner.ts'
import { busStopped, publishTimeout, topicMissing } from '../topic-errors.ts'
import { BrokerClient } from './broker-client.ts'
import type { KafkaBusOptions, KafkaConfig } from './kafka-options.ts'
import { type Batch, type BatchSender, fitsOneBatch, PartitionQueue } from './partition-queue.ts'
import { PendingPublish, type PublishTimes } from './pending-publish.ts'
import { type Attempt, attempt, LEADER_NOT_AVAILABLE } from './produce-attempt.ts'
import { isTooLarge, refusal, unfitRecords } from './produce-error.ts'
import { PROBE_PERIOD_MS, ProducerHealth } from './producer-health.ts'
import { BATCH_HEADER_BYTES, frameBatch } from './record-batch.ts'
import { RETRY_BACKOFF, type Route, TopicRoutes } from './topic-routes.ts'
import { type TransactedPublish, Transactions } from './transactions.ts'

/** A broker that has just started may not know a topic that is there. */
const MISSING_PATIENCE_MS = 3_000
/** Failures of one batch are logged at first and then at every so many attempts. */
const LOG_EVERY_ATTEMPTS = 20

export class KafkaProducer implements BatchSender {
  private readonly options: KafkaBusOptions
  private readonly config: KafkaConfig
  private readonly client: BrokerClient
  private readonly partitioner = new Partitioner()
  private readonly routes: TopicRoutes
  private readonly waiting: (() => void)[] = []
  private readonly aborted = new AbortController()
  private readonly answers: ProducerHealth
  private readonly transactions: Transactions
  private probe: Timer | null = null
  private stopping = false
  /** Calls of `publish` that have not returned. */
  private publishing = 0
  private queuedRecords = 0
  private queuedBytes = 0
  private published = { records: 0, batches: 0, bytes: 0 }

  constructor(options: KafkaBusOptions, config: KafkaConfig) {
    this.options = options
    this.config = config
    this.client = new BrokerClient(config)
    this.answers = new ProducerHealth(options)
    this.routes = new TopicRoutes({
      client: this.client,
      throughBreaker: (ask) => this.answers.throughBreaker(ask),
      newQueue: (topic, partition) => new PartitionQueue(topic, partition, config.compression, this),
      onAway: (failure) => this.answers.failed('away', failure),
      publishTimeoutMs: config.publishTimeoutMs,
      aborted: this.aborted.signal,
      clock: options.clock,
      random: options.random,
    })
    const { client, config: given, answers, routes } = this
    this.transactions = new Transactions({
      client,
      config: given,
      answers,
      routes,
      aborted: this.aborted.signal,
      clock: options.clock,
      random: options.random,
      log: options.log,
    })
  }

  /** Asks the brokers once and then from time to time; resolves whether they answer or not. */
  async start(): Promise<void> {
    const ask = (): Promise<void> => this.answers.probe(() => this.client.ping())
    this.probe = this.options.clock.every(PROBE_PERIOD_MS, () => void ask())
    await ask()
  }

  /** Waits until all that was accepted is stored; what is not when `deadline` aborts is rejected as BUS_STOPPED. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping = true
    this.probe?.cancel()
    const abort = (): void => this.aborted.abort()
    if (deadline.aborted) abort()
    else deadline.addEventListener('abort', abort, { once: true })
    const closed = this.closedOnAbort()
    while (this.publishing > 0) {
      await this.routes.idle()
      await this.transactions.idle()
      await nextTurn()
    }
    this.aborted.abort()
    await closed
    deadline.removeEventListener('abort', abort)
  }

  async publish(topic: string, records: readonly BusRecord[], { atomic = false }: PublishOptions): Promise<void> {
    if (this.stopping) throw busStopped()
    this.publishing++
    try {
      // A known topic is waited for as well: one turn of the microtask queue keeps publishers in the order they came.
      const route = await this.routes.routeOf(topic)
      if (records.length === 0) return
      const wholeBytes = atomic && records.length > 1 ? atomicBytes(topic, records) : null
      if (this.waiting.length > 0 || this.queuedBytes >= this.config.queueBytesMax) {
        await new Promise<void>((resolve) => this.waiting.push(() => resolve(this.accept(route, records, wholeBytes))))
      } else {
        await this.accept(route, records, wholeBytes)
      }
    } finally {
      this.publishing--
    }
  }

  /**
   * Resolves when the topic is there, or when nobody answers and it may be.
   * @throws BusbarError TOPIC_MISSING
   */
  async requireTopic(topic: string): Promise<void> {
    try {
      await this.client.leaders(topic)
    } catch (error) {
      if (error instanceof BusbarError && error.code === 'TOPIC_MISSING') throw error
    }
  }

  health(): DependencyHealth {
    return this.answers.health()
  }

  stats(): Omit<BusStats, 'consumedRecords' | 'redeliveredBatches'> {
    return {
      publishedRecords: this.published.records,
      publishedBatches: this.published.batches,
      publishedBytes: this.published.bytes,
      queuedRecords: this.queuedRecords,
      queuedBytes: this.queuedBytes,
      failures: { ...this.answers.failures },
      breaker: this.answers.breakerState,
    }
  }

  async send(queue: PartitionQueue, batch: Batch): Promise<number | null> {
    const { clock, random, log } = this.options
    const route = await this.routes.routeOf(queue.topic)
    let attempt = 0
    let missingSinceMs: number | null = null
    for (;;) {
      const { outcome, failure, errorCode } = await this.attempt(route, queue, batch)
      if (outcome === 'stored' || outcome === 'unfit') {
        this.answers.recovered(attempt > 0)
        if (outcome === 'unfit') return errorCode
        this.published.batches++
        return null
      }
      if (attempt === 0) this.answers.retries()
      this.answers.failed(outcome, failure)
      if (attempt % LOG_EVERY_ATTEMPTS === 0) {
        log.warn(
          { topic: queue.topic, partition: queue.partition, attempt, outcome, failure },
          'kafka produce is retried',
        )
      }
      const nowMs = clock.monotonicMs()
      missingSinceMs = outcome === 'missing' ? (missingSinceMs ?? nowMs) : null
      const end = this.aborted.signal.aborted
        ? busStopped()
        : outcome === 'refused'
          ? refusal(queue.topic, errorCode)
          : missingSinceMs !== null && nowMs - missingSinceMs > MISSING_PATIENCE_MS
            ? topicMissing(queue.topic)
            : nowMs - batch.acceptedMs > this.config.publishTimeoutMs
              ? publishTimeout(queue.topic, failure)
              : null
      if (end !== null) {
        this.answers.gaveUp()
        throw end
      }
      if (outcome === 'reset') queue.forgetIdentity()
      else route.doubtful.add(queue.partition)
      await sleep(clock, fullJitterMs(attempt++, RETRY_BACKOFF, random), this.aborted.signal)
    }
  }

  async refusalOf({ topic, partition }: PartitionQueue, batch: Batch, errorCode: number): Promise<BusbarError> {
    const [part] = batch.parts
    const key = part === undefined ? null : (part.publish.records[part.first]?.key ?? null)
    const bytes = BATCH_HEADER_BYTES + batch.records.bytes.length
    const leader = (await this.routes.routeOf(topic)).leaders[partition] ?? -1
    const bytesMax = isTooLarge(errorCode) ? await this.client.batchBytesMax(leader, topic) : null
    return unfitRecords({ topic, key, count: batch.records.count, bytes, bytesMax, errorCode })
  }

  settled({ rawBytes, records }: Batch, error: BusbarError | null): void {
    this.release(rawBytes, records.count)
    if (error === null) this.stored(records.count, records.bytes.length)
    else this.answers.count(error.code)
  }

  private stored(records: number, bytes: number): void {
    this.published.records += records
    this.published.bytes += bytes
  }

  private release(bytes: number, records: number): void {
    this.queuedBytes -= bytes
    this.queuedRecords -= records
    while (this.waiting.length > 0 && this.queuedBytes < this.config.queueBytesMax) this.waiting.shift()?.()
  }

  /** @param wholeBytes what records take at most that are stored all or none; null when each is on its own. */
  private accept(route: Route, records: readonly BusRecord[], wholeBytes: number | null): Promise<void> {
    const { clock } = this.options
    const times = { wallMs: clock.wallMs(), acceptedMs: clock.monotonicMs() }
    return wholeBytes === null
      ? this.acceptEach(route, records, times)
      : this.acceptWhole(route, records, times, wholeBytes)
  }

  private acceptEach(route: Route, records: readonly BusRecord[], times: PublishTimes): Promise<void> {
    const { queues } = route
    return new Promise((resolve, reject) => {
      const publish = new PendingPublish(records, times, { resolve, reject })
      for (let index = 0; index < records.length; index++) {
        const partition = this.partitioner.partitionOf((records[index] as BusRecord).key, queues.length)
        publish.place(index, partition)
        this.queuedBytes += (queues[partition] as PartitionQueue).add(publish, index)
      }
      this.queuedRecords += records.length
      for (const queue of queues) queue.kick()
      this.routes.refreshOld(route)
    })
  }

  private acceptWhole(
    route: Route,
    records: readonly BusRecord[],
    times: PublishTimes,
    bytesMax: number,
  ): Promise<void> {
    const { queues } = route
    const partitions = records.map(({ key }) => this.partitioner.partitionOf(key, queues.length))
    const [only = 0] = partitions
    if (partitions.some((partition) => partition !== only) || !fitsOneBatch(records, bytesMax)) {
      return this.acceptTransaction({ route, records, partitions, bytesMax, ...times })
    }
    return new Promise((resolve, reject) => {
      const publish = new PendingPublish(records, times, { resolve, reject })
      for (let index = 0; index < records.length; index++) publish.place(index, only)
      const queue = queues[only] as PartitionQueue
      this.queuedBytes += queue.addWhole(publish, bytesMax)
      this.queuedRecords += records.length
      queue.kick()
      this.routes.refreshOld(route)
    })
  }

  private async acceptTransaction(publish: TransactedPublish): Promise<void> {
    const { bytesMax, records } = publish
    this.queuedBytes += bytesMax
    this.queuedRecords += records.length
    this.routes.refreshOld(publish.route)
    try {
      const sentBytes = await this.transactions.publish(publish)
      this.stored(records.length, sentBytes)
      this.published.batches++
    } catch (error) {
      this.answers.count((error as BusbarError).code)
      throw error
    } finally {
      this.release(bytesMax, records.length)
    }
  }

  private attempt(route: Route, queue: PartitionQueue, batch: Batch): Promise<Attempt> {
    return attempt(this.answers, async () => {
      if (route.doubtful.has(queue.partition)) await this.routes.learn(route)
      const leader = route.leaders[queue.partition] ?? -1
      if (leader < 0) return LEADER_NOT_AVAILABLE
      if (queue.position() === null) queue.identify(await this.client.newProducer(leader))
      const position = queue.position()
      if (position === null) return LEADER_NOT_AVAILABLE
      return this.client.produce(leader, queue.topic, queue.partition, frameBatch(batch.records, position))
    })
  }

  /** Closing the connections is what ends requests in flight. */
  private async closedOnAbort(): Promise<void> {
    await aborted(this.aborted.signal)
    await this.client.close()
  }
}
