/**
 * Publishes to Kafka: shares records out to the queues of their partitions and carries each batch through retries, lost
 * brokers and elections until it is stored or its time is over.
 */

import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import { sleep, type Timer } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { fullJitterMs } from '../../../shared/retry.ts'
import { aborted, nextTurn } from '../../../shared/waiting.ts'
import type { BusRecord, BusStats, DependencyHealth } from '../bus.ts'
import { Partitioner } from '../partitioner.ts'
import { busStopped, publishTimeout, topicMissing } from '../topic-errors.ts'
import { nextStepAfter } from './advice.ts'
import { BrokerClient } from './broker-client.ts'
import type { KafkaBusOptions, KafkaConfig } from './kafka-options.ts'
import { type Batch, type BatchSender, PartitionQueue } from './partition-queue.ts'
import { PendingPublish } from './pending-publish.ts'
import {
  brokerErrorCode,
  describeFailure,
  isTooLarge,
  nobodyAnswered,
  outcomeOf,
  type ProduceOutcome,
  refusal,
  unfitRecord,
} from './produce-error.ts'
import { BATCH_HEADER_BYTES, frameBatch } from './record-batch.ts'
import { RETRY_BACKOFF, type Route, TopicRoutes } from './topic-routes.ts'

/** Requests in a row without an answer that open the breaker, and how long it stays open before one may try. */
const BREAKER_FAILURES = 5
const BREAKER_OPEN_MS = 1_000
/** How often the brokers are asked when nothing else was, so that health is true of an idle system too. */
const PROBE_PERIOD_MS = 5_000
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
  private readonly breaker
  private probe: Timer | null = null
  private lastAnswerMs: number | null = null
  private lastFailure: string | null = 'no broker has answered yet'
  private retrying = 0
  private stopping = false
  /** Calls of `publish` that have not returned. */
  private publishing = 0
  private queuedRecords = 0
  private queuedBytes = 0
  private published = { records: 0, batches: 0, bytes: 0 }
  private readonly failures: Record<string, number> = {}

  constructor(options: KafkaBusOptions, config: KafkaConfig) {
    this.options = options
    this.config = config
    this.client = new BrokerClient(config)
    this.breaker = circuitBreaker(handleWhen(nobodyAnswered), {
      halfOpenAfter: BREAKER_OPEN_MS,
      breaker: new ConsecutiveBreaker(BREAKER_FAILURES),
    })
    this.routes = new TopicRoutes({
      client: this.client,
      throughBreaker: (ask) => this.breaker.execute(ask),
      newQueue: (topic, partition) => new PartitionQueue(topic, partition, config.compression, this),
      onAway: (failure) => this.noteFailure('away', failure),
      publishTimeoutMs: config.publishTimeoutMs,
      aborted: this.aborted.signal,
      clock: options.clock,
      random: options.random,
    })
    this.breaker.onBreak(() => options.log.warn({ failure: this.lastFailure }, 'kafka does not answer: breaker open'))
    this.breaker.onReset(() => options.log.info('kafka answers again: breaker closed'))
  }

  /** Asks the brokers once and then from time to time; resolves whether they answer or not. */
  async start(): Promise<void> {
    this.probe = this.options.clock.every(PROBE_PERIOD_MS, () => void this.ask())
    await this.ask()
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
      await nextTurn()
    }
    this.aborted.abort()
    await closed
    deadline.removeEventListener('abort', abort)
  }

  async publish(topic: string, records: readonly BusRecord[]): Promise<void> {
    if (this.stopping) throw busStopped()
    this.publishing++
    try {
      // A known topic is waited for as well: one turn of the microtask queue keeps publishers in the order they came.
      const route = await this.routes.routeOf(topic)
      if (records.length === 0) return
      if (this.waiting.length > 0 || this.queuedBytes >= this.config.queueBytesMax) {
        await new Promise<void>((resolve) => this.waiting.push(() => resolve(this.accept(route, records))))
      } else {
        await this.accept(route, records)
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
    const { brokers } = this.config
    const failure = this.lastFailure ?? 'the breaker is open'
    const detail = `Kafka: ${failure.replace(/\.$/, '')}. ${nextStepAfter(failure, brokers)}.`
    if (this.breaker.state !== CircuitState.Closed || this.lastAnswerMs === null) return { state: 'down', detail }
    if (this.lastFailure !== null) return { state: 'degraded', detail }
    return { state: 'up' }
  }

  stats(): Omit<BusStats, 'consumedRecords' | 'redeliveredBatches'> {
    return {
      publishedRecords: this.published.records,
      publishedBatches: this.published.batches,
      publishedBytes: this.published.bytes,
      queuedRecords: this.queuedRecords,
      queuedBytes: this.queuedBytes,
      failures: { ...this.failures },
      breaker: breakerName(this.breaker.state),
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
        if (attempt > 0) this.retrying--
        if (this.retrying === 0) this.lastFailure = null
        if (outcome === 'unfit') return errorCode
        this.published.batches++
        return null
      }
      if (attempt === 0) this.retrying++
      this.noteFailure(outcome, failure)
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
        this.retrying--
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
    return unfitRecord({ topic, key, bytes, bytesMax, errorCode })
  }

  settled(batch: Batch, error: BusbarError | null): void {
    this.queuedBytes -= batch.rawBytes
    this.queuedRecords -= batch.records.count
    if (error === null) {
      this.published.records += batch.records.count
      this.published.bytes += batch.records.bytes.length
    } else {
      this.failures[error.code] = (this.failures[error.code] ?? 0) + 1
    }
    while (this.waiting.length > 0 && this.queuedBytes < this.config.queueBytesMax) this.waiting.shift()?.()
  }

  private accept(route: Route, records: readonly BusRecord[]): Promise<void> {
    const { queues } = route
    const { clock } = this.options
    return new Promise((resolve, reject) => {
      const times = { wallMs: clock.wallMs(), acceptedMs: clock.monotonicMs() }
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

  /** One try. Never rejects. */
  private async attempt(
    route: Route,
    queue: PartitionQueue,
    batch: Batch,
  ): Promise<{ outcome: ProduceOutcome; failure: string; errorCode: number }> {
    try {
      const errorCode = await this.breaker.execute(async () => {
        if (route.doubtful.has(queue.partition)) await this.routes.learn(route)
        const leader = route.leaders[queue.partition] ?? -1
        if (leader < 0) return LEADER_NOT_AVAILABLE
        if (queue.position() === null) queue.identify(await this.client.newProducer(leader))
        const position = queue.position()
        if (position === null) return LEADER_NOT_AVAILABLE
        const framed = frameBatch(batch.records, position)
        return this.client.produce(leader, queue.topic, queue.partition, framed)
      })
      this.lastAnswerMs = this.options.clock.monotonicMs()
      return { outcome: outcomeOf(errorCode), failure: `broker answered with error ${errorCode}`, errorCode }
    } catch (error) {
      if (error instanceof BusbarError && error.code === 'TOPIC_MISSING') {
        return { outcome: 'missing', failure: error.message, errorCode: 0 }
      }
      const errorCode = brokerErrorCode(error)
      if (errorCode !== null) return { outcome: outcomeOf(errorCode), failure: describeFailure(error), errorCode }
      if (error instanceof BrokenCircuitError)
        return { outcome: 'away', failure: this.lastFailure ?? 'away', errorCode: 0 }
      return { outcome: 'away', failure: describeFailure(error), errorCode: 0 }
    }
  }

  private async ask(): Promise<void> {
    const { clock } = this.options
    if (this.lastAnswerMs !== null && clock.monotonicMs() - this.lastAnswerMs < PROBE_PERIOD_MS / 2) return
    try {
      await this.breaker.execute(() => this.client.ping())
      this.lastAnswerMs = clock.monotonicMs()
      if (this.retrying === 0) this.lastFailure = null
    } catch (error) {
      if (!(error instanceof BrokenCircuitError)) this.noteFailure('away', describeFailure(error))
    }
  }

  private noteFailure(outcome: ProduceOutcome, failure: string): void {
    this.lastFailure = failure
    this.failures[outcome] = (this.failures[outcome] ?? 0) + 1
  }

  /** Closing the connections is what ends requests in flight. */
  private async closedOnAbort(): Promise<void> {
    await aborted(this.aborted.signal)
    await this.client.close()
  }
}

const LEADER_NOT_AVAILABLE = 5

function breakerName(state: CircuitState): BusStats['breaker'] {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}
