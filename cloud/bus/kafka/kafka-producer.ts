/**
 * Publishes to Kafka: shares records out to the queues of their partitions and carries each batch through retries, lost
 * brokers and elections until it is stored or its time is over.
 */

import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import { type Timer, sleep } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { type BackoffPolicy, fullJitterMs } from '../../../shared/retry.ts'
import type { BusRecord, BusStats, DependencyHealth } from '../bus.ts'
import { Partitioner } from '../partitioner.ts'
import { busStopped, topicMissing } from '../topic-errors.ts'
import { BrokerClient } from './broker-client.ts'
import type { KafkaBusOptions, KafkaConfig } from './kafka-options.ts'
import { type Batch, type BatchSender, PartitionQueue, type PendingPublish } from './partition-queue.ts'
import { brokerErrorCode, describeFailure, outcomeOf, type ProduceOutcome, refusal } from './produce-error.ts'
import { frameBatch } from './record-batch.ts'

const RETRY_BACKOFF: BackoffPolicy = { baseMs: 50, capMs: 1_000 }
/** Requests in a row without an answer that open the breaker, and how long it stays open before one may try. */
const BREAKER_FAILURES = 5
const BREAKER_OPEN_MS = 1_000
/** How often the brokers are asked when nothing else was, so that health is true of an idle system too. */
const PROBE_PERIOD_MS = 5_000
/** Age at which the number of a topic's partitions is asked for again, in the background. */
const ROUTE_AGE_MAX_MS = 60_000
/** A topic that was there may be missed by a broker that has just started, and a new one is not known everywhere at once. */
const MISSING_PATIENCE_MS = 3_000
const NEW_TOPIC_PATIENCE_MS = 300
/** Failures of one batch are logged at first and then at every so many attempts. */
const LOG_EVERY_ATTEMPTS = 20

interface Route {
  readonly queues: PartitionQueue[]
  leaders: number[]
  learntMs: number
  /** Set when a leader did not answer as one. */
  stale: boolean
  learning: Promise<void> | null
}

export class KafkaProducer implements BatchSender {
  private readonly options: KafkaBusOptions
  private readonly config: KafkaConfig
  private readonly client: BrokerClient
  private readonly partitioner = new Partitioner()
  private readonly routes = new Map<string, Promise<Route>>()
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
      for (const route of await Promise.allSettled(this.routes.values())) {
        if (route.status === 'fulfilled') await Promise.all(route.value.queues.map((queue) => queue.idle()))
      }
      await new Promise((resolve) => setImmediate(resolve))
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
      const route = await this.routeOf(topic)
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
    const detail = `Kafka: ${this.lastFailure}. Check that ${this.config.brokers.join(', ')} run and can be reached.`
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

  async send(queue: PartitionQueue, batch: Batch): Promise<void> {
    const { clock, random, log } = this.options
    const route = await this.routeOf(queue.topic)
    let attempt = 0
    let missingSinceMs: number | null = null
    for (;;) {
      const { outcome, failure, errorCode } = await this.attempt(route, queue, batch)
      if (outcome === 'stored') break
      if (attempt === 0) this.retrying++
      this.noteFailure(outcome, failure)
      if (attempt % LOG_EVERY_ATTEMPTS === 0) {
        log.warn({ topic: queue.topic, partition: queue.partition, attempt, outcome, failure }, 'kafka produce is retried')
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
      else route.stale = true
      await sleep(clock, fullJitterMs(attempt++, RETRY_BACKOFF, random), this.aborted.signal)
    }
    if (attempt > 0) this.retrying--
    if (this.retrying === 0) this.lastFailure = null
    this.published.batches++
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
    const wallMs = this.options.clock.wallMs()
    return new Promise((resolve, reject) => {
      const publish: PendingPublish = { remaining: 0, acceptedMs: this.options.clock.monotonicMs(), resolve, reject }
      for (const record of records) {
        const queue = queues[this.partitioner.partitionOf(record.key, queues.length)] as PartitionQueue
        this.queuedBytes += queue.add(record, wallMs, publish)
      }
      this.queuedRecords += records.length
      for (const queue of queues) queue.kick()
      this.refreshOld(route)
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
        if (route.stale) await this.learn(queue.topic, route)
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
      if (error instanceof BrokenCircuitError) return { outcome: 'away', failure: this.lastFailure ?? 'away', errorCode: 0 }
      return { outcome: 'away', failure: describeFailure(error), errorCode: 0 }
    }
  }

  private routeOf(topic: string): Promise<Route> {
    let route = this.routes.get(topic)
    if (route === undefined) {
      route = this.findRoute(topic)
      this.routes.set(topic, route)
      route.catch(() => this.routes.delete(topic))
    }
    return route
  }

  /** Asks for the topic until somebody answers. */
  private async findRoute(topic: string): Promise<Route> {
    const { clock, random } = this.options
    const startedMs = clock.monotonicMs()
    const route: Route = { queues: [], leaders: [], learntMs: 0, stale: true, learning: null }
    for (let attempt = 0; ; attempt++) {
      try {
        await this.breaker.execute(() => this.learn(topic, route))
        return route
      } catch (error) {
        const nowMs = clock.monotonicMs()
        const missing = error instanceof BusbarError && error.code === 'TOPIC_MISSING'
        if (missing && nowMs - startedMs > NEW_TOPIC_PATIENCE_MS) throw error
        const failure = error instanceof BrokenCircuitError ? (this.lastFailure ?? 'away') : describeFailure(error)
        if (!missing && !(error instanceof BrokenCircuitError)) this.noteFailure('away', failure)
        if (this.aborted.signal.aborted) throw busStopped()
        if (nowMs - startedMs > this.config.publishTimeoutMs) throw publishTimeout(topic, failure)
        await sleep(clock, fullJitterMs(attempt, RETRY_BACKOFF, random), this.aborted.signal)
      }
    }
  }

  private learn(topic: string, route: Route): Promise<void> {
    route.learning ??= (async () => {
      try {
        route.leaders = await this.client.leaders(topic)
        route.stale = false
        route.learntMs = this.options.clock.monotonicMs()
        for (let partition = route.queues.length; partition < route.leaders.length; partition++) {
          route.queues.push(new PartitionQueue(topic, partition, this.config.compression, this))
        }
      } finally {
        route.learning = null
      }
    })()
    return route.learning
  }

  /** Notices partitions that were added. */
  private refreshOld(route: Route): void {
    const [queue] = route.queues
    if (queue === undefined || this.options.clock.monotonicMs() - route.learntMs < ROUTE_AGE_MAX_MS) return
    route.learntMs = this.options.clock.monotonicMs()
    // A failure here is met, and handled, by the next batch.
    this.learn(queue.topic, route).catch(() => {
      route.stale = true
    })
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
    await new Promise<void>((resolve) => {
      if (this.aborted.signal.aborted) resolve()
      else this.aborted.signal.addEventListener('abort', () => resolve(), { once: true })
    })
    await this.client.close()
  }
}

const LEADER_NOT_AVAILABLE = 5

/** What counts against the breaker: an answer, even a refusal, shows that the broker is there. */
function nobodyAnswered(error: unknown): boolean {
  const missing = error instanceof BusbarError && error.code === 'TOPIC_MISSING'
  return !missing && brokerErrorCode(error) === null
}

function breakerName(state: CircuitState): BusStats['breaker'] {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}

function publishTimeout(topic: string, failure: string): BusbarError {
  return new BusbarError(`records for ${topic} were not confirmed in time: ${failure}`, {
    code: 'PUBLISH_TIMEOUT',
    retryable: true,
    hint: 'Check the brokers; the records are published again by whoever holds them.',
  })
}
