/**
 * One consumer: a member of a group that commits after its handler, or a tail that commits nothing. kafkajs fetches and
 * keeps the group; whatever makes it give up, a new consumer is built after a backoff, until `stop`.
 *
 * A partition whose handler rejects is paused for the backoff, not waited for: kafkajs fetches nothing else from a
 * broker while a handler runs.
 */

import type { Consumer, EachBatchPayload, Kafka, KafkaMessage, TopicOffsets } from 'kafkajs'
import { sleep, type Timer } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import { type BackoffPolicy, fullJitterMs } from '../../../shared/retry.ts'
import type { BatchHandler, ConsumedRecord, Subscription } from '../bus.ts'
import { recordOf } from './consumed-message.ts'
import type { KafkaBusOptions, KafkaConfig } from './kafka-options.ts'
import { type FinishedOffset, OffsetCommits } from './offset-commits.ts'

const REBUILD_BACKOFF: BackoffPolicy = { baseMs: 200, capMs: 10_000 }
const REDELIVERY_BACKOFF: BackoffPolicy = { baseMs: 100, capMs: 30_000 }
const HEARTBEAT_MS = 1_000
/** A fetch without records waits this long at the broker; also how long a stop may wait for it. */
const FETCH_WAIT_MS = 500
/** Compressed bytes of one partition in one fetch: some thousands of readings. */
const PARTITION_FETCH_BYTES = 256 * 1024
/** After its last batch a consumer has this long to commit, and then to leave; without a broker it would go on trying. */
const LEAVE_WAIT_MS = 2_000
/** `subscribe` waits this long for the group and then lets it come about in the background. */
const JOIN_WAIT_MS = 15_000

export interface KafkaSubscriptionOptions {
  readonly kafka: Kafka
  readonly group: string
  readonly topics: readonly string[]
  readonly onBatch: BatchHandler
  /** Where a tail begins, by `positionId`; null for a group, whose offsets the brokers keep. */
  readonly tailFrom: Map<string, bigint> | null
  /** How long records may be held back at the broker until there are more of them, milliseconds. */
  readonly gatherMs: number
  /** Default: that of the config. */
  readonly batchRecordsMax?: number
  readonly config: KafkaConfig
  readonly bus: KafkaBusOptions
  readonly onConsumed: (records: number) => void
  readonly onRedelivered: () => void
}

export function positionId(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

/** A consumer, from when it is built until it crashes or is stopped. */
interface Membership {
  readonly consumer: Consumer
  readonly commits: OffsetCommits
  /** Commits once; kafkajs's other way tries for a minute, across rebalances. Null before the first batch. */
  commitOnce: EachBatchPayload['commitOffsetsIfNecessary'] | null
}

export class KafkaSubscription implements Subscription {
  private readonly options: KafkaSubscriptionOptions
  private readonly stopping = new AbortController()
  private readonly failedAttempts = new Map<string, number>()
  private readonly pauses = new Set<Timer>()
  private readonly inHand = new Set<Promise<void>>()
  private running: Promise<void> | null = null
  /** Why there is no consumer at the moment; null while there is one. */
  private failure: string | null = 'joining its group'

  constructor(options: KafkaSubscriptionOptions) {
    this.options = options
  }

  get unhealthy(): string | null {
    return this.failure
  }

  /** Resolves when the consumer is a member of its group; without a broker that comes about later, in the background. */
  async start(): Promise<void> {
    const joined = Promise.withResolvers<void>()
    this.running = this.run(joined)
    const patience = this.options.bus.clock.after(JOIN_WAIT_MS, () => joined.resolve())
    try {
      await joined.promise
    } finally {
      patience.cancel()
    }
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    await this.running
  }

  /** Builds consumers one after the other until stopped. */
  private async run(joined: PromiseWithResolvers<void>): Promise<void> {
    const { clock, random, log } = this.options.bus
    for (let attempt = 0; !this.stopping.signal.aborted; attempt++) {
      const reason = await this.consumeUntilCrash(() => {
        attempt = 0
        this.failure = null
        joined.resolve()
      })
      if (this.stopping.signal.aborted) break
      const delayMs = fullJitterMs(attempt, REBUILD_BACKOFF, random)
      this.failure = `consumer group ${this.options.group}: ${reason}`
      log.warn({ group: this.options.group, reason, delayMs }, 'kafka consumer is rebuilt')
      await sleep(clock, delayMs, this.stopping.signal)
    }
    joined.resolve()
  }

  /** Resolves with the reason. */
  private async consumeUntilCrash(onJoined: () => void): Promise<string> {
    const { kafka, group, gatherMs, config } = this.options
    const consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: config.sessionTimeoutMs,
      heartbeatInterval: HEARTBEAT_MS,
      ...(gatherMs > 0
        ? { minBytes: PARTITION_FETCH_BYTES, maxWaitTimeInMs: gatherMs }
        : { maxWaitTimeInMs: FETCH_WAIT_MS }),
      maxBytesPerPartition: PARTITION_FETCH_BYTES,
      allowAutoTopicCreation: false,
    })
    const member = this.membership(consumer)
    const ended = Promise.withResolvers<Error | null>()
    const onStop = (): void => ended.resolve(null)
    this.stopping.signal.addEventListener('abort', onStop, { once: true })
    consumer.on('consumer.crash', ({ payload }) => ended.resolve(payload.error))
    consumer.on('consumer.group_join', ({ payload }) => {
      member.commits.reassigned()
      this.seekTail(consumer, payload.memberAssignment)
      onJoined()
    })
    consumer.on('consumer.end_batch_process', ({ payload }) => {
      // Nothing but ends of transactions, or records that were aborted: handed to nobody, and behind what was.
      if (payload.batchSize === 0) this.finish(member, payload, payload.lastOffset)
    })
    const built = this.build(member).then(() => ended.promise)
    // A stop does not wait until an absent broker can be joined.
    const error = await Promise.race([built, ended.promise]).catch((thrown: unknown) => thrown)
    built.catch(() => {})
    this.stopping.signal.removeEventListener('abort', onStop)
    await this.leave(member)
    return messageOf(error)
  }

  private membership(consumer: Consumer): Membership {
    const { clock, random, log } = this.options.bus
    const { group } = this.options
    const member: Membership = {
      consumer,
      commitOnce: null,
      commits: new OffsetCommits({
        commit: (offsets) => member.commitOnce?.({ topics: byTopic(offsets) }) ?? consumer.commitOffsets([...offsets]),
        // A rebalance ends in a join, and the records are delivered again; an absent coordinator comes back.
        onFailed: (error) => log.debug({ group, error: messageOf(error) }, 'offsets were not committed'),
        clock,
        random,
      }),
    }
    return member
  }

  private async build(member: Membership): Promise<void> {
    const { consumer } = member
    const { topics, tailFrom, config } = this.options
    await consumer.connect()
    await consumer.subscribe({ topics: [...topics], fromBeginning: tailFrom === null })
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: config.partitionsConcurrently,
      eachBatch: (payload) => this.track(this.deliver(member, payload)),
    })
  }

  /** Ends the consumer after the batches in hand, with their offsets committed if a broker is there to take them. */
  private async leave({ consumer, commits }: Membership): Promise<void> {
    while (this.inHand.size > 0) await Promise.allSettled(this.inHand)
    // A consumer that is gone cannot be resumed; its successor begins with nothing paused.
    for (const pause of this.pauses) pause.cancel()
    this.pauses.clear()
    await this.withPatience(commits.flush())
    commits.cancel()
    await this.withPatience(consumer.disconnect().catch(() => {}))
  }

  private async withPatience(work: Promise<void>): Promise<void> {
    const patience = new AbortController()
    await Promise.race([work, sleep(this.options.bus.clock, LEAVE_WAIT_MS, patience.signal)])
    patience.abort()
  }

  private async track(delivery: Promise<void>): Promise<void> {
    this.inHand.add(delivery)
    try {
      await delivery
    } finally {
      this.inHand.delete(delivery)
    }
  }

  /** A tail has no committed offsets, so after a join it says itself where it was. */
  private seekTail(consumer: Consumer, assignment: Record<string, number[]>): void {
    for (const [topic, partitions] of Object.entries(assignment)) {
      for (const partition of partitions) {
        const offset = this.options.tailFrom?.get(positionId(topic, partition))
        if (offset !== undefined) consumer.seek({ topic, partition, offset: String(offset) })
      }
    }
  }

  private async deliver(member: Membership, payload: EachBatchPayload): Promise<void> {
    const { consumer, commits } = member
    const assignment = commits.currentAssignment
    member.commitOnce = payload.commitOffsetsIfNecessary
    const { topic, partition, messages } = payload.batch
    const { config, batchRecordsMax = config.batchRecordsMax } = this.options
    const id = positionId(topic, partition)
    for (let i = 0; i < messages.length; i += batchRecordsMax) {
      if (!payload.isRunning() || payload.isStale() || this.stopping.signal.aborted) return
      const slice = messages.slice(i, i + batchRecordsMax)
      const records = slice.map((message) => recordOf(topic, partition, message))
      const failure = await this.handOver(payload, records)
      // Whoever has the partition now begins at what is committed, and takes these again.
      if (assignment !== commits.currentAssignment) return
      if (failure !== null) {
        this.pause(consumer, payload, failure)
        return
      }
      this.failedAttempts.delete(id)
      const last = slice[slice.length - 1] as KafkaMessage
      payload.resolveOffset(last.offset)
      this.options.onConsumed(records.length)
      // What ends a transaction takes an offset as well, and counts as handled with the last record.
      this.finish(member, payload.batch, last === messages.at(-1) ? payload.batch.lastOffset() : last.offset)
    }
  }

  private finish(
    { commits }: Membership,
    { topic, partition }: { readonly topic: string; readonly partition: number },
    lastOffset: string,
  ): void {
    const next = BigInt(lastOffset) + 1n
    if (this.options.tailFrom !== null) this.options.tailFrom.set(positionId(topic, partition), next)
    else commits.finish({ topic, partition, offset: String(next) }, commits.currentAssignment)
  }

  /** Null when the handler finished, otherwise what it threw. The group hears from us meanwhile. */
  private async handOver(payload: EachBatchPayload, records: ConsumedRecord[]): Promise<unknown> {
    const { topic, partition } = payload.batch
    const beat = this.options.bus.clock.every(HEARTBEAT_MS, () => {
      // A rebalance shows itself again at the next commit or fetch.
      payload.heartbeat().catch(() => {})
    })
    try {
      await this.options.onBatch({ topic, partition, records })
      return null
    } catch (error) {
      return error ?? new Error('the handler rejected without a reason')
    } finally {
      beat.cancel()
    }
  }

  private pause(consumer: Consumer, payload: EachBatchPayload, failure: unknown): void {
    const { topic, partition } = payload.batch
    const { clock, random, log } = this.options.bus
    const id = positionId(topic, partition)
    const attempt = this.failedAttempts.get(id) ?? 0
    this.failedAttempts.set(id, attempt + 1)
    this.options.onRedelivered()
    const delayMs = fullJitterMs(attempt, REDELIVERY_BACKOFF, random)
    const { group } = this.options
    log.warn({ group, topic, partition, attempt, delayMs, error: messageOf(failure) }, 'batch will be redelivered')
    consumer.pause([{ topic, partitions: [partition] }])
    const timer = clock.after(delayMs, () => {
      this.pauses.delete(timer)
      try {
        consumer.resume([{ topic, partitions: [partition] }])
      } catch {
        // It crashed meanwhile, which is told by its event.
      }
    })
    this.pauses.add(timer)
  }
}

function byTopic(offsets: readonly FinishedOffset[]): TopicOffsets[] {
  return [...Map.groupBy(offsets, ({ topic }) => topic)].map(([topic, partitions]) => ({
    topic,
    partitions: partitions.map(({ partition, offset }) => ({ partition, offset })),
  }))
}
