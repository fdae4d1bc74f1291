/**
 * Publishes that are atomic over several partitions, or too large for one batch. One transaction is on its way at a time
 * and what comes meanwhile gathers for the next, which carries all of it: a transaction costs several round trips,
 * whatever is in it. One that the brokers refuse for its records is carried again with each publish on its own.
 */

import { sleep } from '../../../shared/clock.ts'
import type { BusbarError } from '../../../shared/errors.ts'
import { randomHex } from '../../../shared/random.ts'
import { fullJitterMs } from '../../../shared/retry.ts'
import { ATOMIC_BYTES_MAX } from '../atomic.ts'
import type { BusRecord } from '../bus.ts'
import { TRANSACTIONAL_ID_PREFIX } from '../catalogue.ts'
import { busStopped, publishTimeout } from '../topic-errors.ts'
import type { BrokerClient } from './broker-client.ts'
import { compress } from './compression.ts'
import type { KafkaBusOptions, KafkaConfig } from './kafka-options.ts'
import { isFull } from './partition-queue.ts'
import type { PublishTimes } from './pending-publish.ts'
import { isTooLarge, refusal, unfitRecords } from './produce-error.ts'
import type { ProducerHealth } from './producer-health.ts'
import { BATCH_HEADER_BYTES, RecordsBuilder, type SealedRecords } from './record-batch.ts'
import { RETRY_BACKOFF, type Route, type TopicRoutes } from './topic-routes.ts'
import { type FailedTransaction, type PartitionBatches, TransactionRun } from './transaction.ts'
import { TransactionClient } from './transaction-client.ts'

/** Failures of one transaction are logged at first and then at every so many attempts. */
const LOG_EVERY_ATTEMPTS = 20

export interface TransactedPublish extends PublishTimes {
  readonly route: Route
  readonly records: readonly BusRecord[]
  /** Of each record. */
  readonly partitions: readonly number[]
  readonly bytesMax: number
}

interface Waiting extends TransactedPublish {
  readonly resolve: (sentBytes: number) => void
  readonly reject: (error: BusbarError) => void
}

export interface TransactionsOptions extends Pick<KafkaBusOptions, 'clock' | 'random' | 'log'> {
  readonly client: BrokerClient
  readonly config: KafkaConfig
  readonly answers: ProducerHealth
  readonly routes: TopicRoutes
  readonly aborted: AbortSignal
}

export class Transactions {
  private readonly options: TransactionsOptions
  private readonly runs: TransactionRun
  private waiting: Waiting[] = []
  private carrying: Promise<void> | null = null

  constructor(options: TransactionsOptions) {
    this.options = options
    // Of this run of the core: one that comes after it must not abort what another core has begun.
    const id = TRANSACTIONAL_ID_PREFIX + randomHex(options.random, 8)
    this.runs = new TransactionRun({ ...options, transactions: new TransactionClient(options.client, id) })
  }

  /** Resolves when all of it is committed, with bytes as sent; rejects when it is not, or when that is not known. */
  publish(publish: TransactedPublish): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ ...publish, resolve, reject })
      this.carrying ??= this.carryAll()
    })
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    while (this.carrying !== null) await this.carrying
  }

  /** Never rejects. */
  private async carryAll(): Promise<void> {
    // What is published in this turn goes along.
    await Promise.resolve()
    for (let group = this.take(); group.length > 0; group = this.take()) await this.carry(group)
    // At once: what is published a moment later begins anew, where it would wait for the next otherwise.
    this.carrying = null
  }

  private take(): Waiting[] {
    let bytes = 0
    const over = this.waiting.findIndex(({ bytesMax }, index) => {
      bytes += bytesMax
      return index > 0 && bytes > ATOMIC_BYTES_MAX
    })
    return this.waiting.splice(0, over < 0 ? this.waiting.length : over)
  }

  /** Never rejects. */
  private async carry(group: readonly Waiting[]): Promise<void> {
    const { clock, random, answers, aborted, config } = this.options
    const partitions = this.batchesOf(group)
    const giveUpAtMs = Math.min(...group.map(({ acceptedMs }) => acceptedMs)) + config.publishTimeoutMs
    for (let attempt = 0; ; attempt++) {
      const failed = await this.runs.run(partitions, giveUpAtMs)
      if (failed === null) {
        answers.recovered(attempt > 0)
        const sentBytes = partitions.flatMap(({ batches }) => batches).reduce((sum, { bytes }) => sum + bytes.length, 0)
        for (const [index, { resolve }] of group.entries()) resolve(index === 0 ? sentBytes : 0)
        return
      }
      const { outcome, failure } = failed
      if (outcome === 'unfit' || outcome === 'refused') {
        answers.recovered(attempt > 0)
        await this.refuse(group, failed)
        return
      }
      if (attempt === 0) answers.retries()
      answers.failed(outcome, failure)
      this.complain(group, attempt, failed)
      const isOver = failed.isUnknown === true || clock.monotonicMs() > giveUpAtMs
      if (aborted.aborted || isOver) {
        answers.gaveUp()
        for (const { route, reject } of group) {
          reject(aborted.aborted ? busStopped() : publishTimeout(route.topic, failure))
        }
        return
      }
      await sleep(clock, fullJitterMs(attempt, RETRY_BACKOFF, random), aborted)
    }
  }

  /** What the brokers will not take, whoever asks or because of what is in it. */
  private async refuse(group: readonly Waiting[], { outcome, errorCode, at }: FailedTransaction): Promise<void> {
    if (outcome === 'refused' || at === null) {
      for (const { route, reject } of group) reject(refusal(route.topic, errorCode))
      return
    }
    if (group.length > 1) {
      for (const one of group) await this.carry([one])
      return
    }
    const { route, partition, batch } = at
    const bytesMax = isTooLarge(errorCode)
      ? await this.options.client.batchBytesMax(route.leaders[partition] ?? -1, route.topic)
      : null
    const bytes = BATCH_HEADER_BYTES + batch.bytes.length
    for (const { reject } of group) {
      reject(unfitRecords({ topic: route.topic, key: null, count: batch.count, bytes, bytesMax, errorCode }))
    }
  }

  private batchesOf(group: readonly Waiting[]): PartitionBatches[] {
    const { compression } = this.options.config
    const builders = new Map<string, { route: Route; partition: number; builders: RecordsBuilder[] }>()
    for (const { route, records, partitions, wallMs } of group) {
      for (const [index, record] of records.entries()) {
        const partition = partitions[index] as number
        const id = `${route.topic}/${partition}`
        const entry = builders.get(id) ?? { route, partition, builders: [] }
        builders.set(id, entry)
        let builder = entry.builders.at(-1)
        if (builder === undefined || isFull(builder, record)) {
          builder = new RecordsBuilder(0)
          entry.builders.push(builder)
        }
        builder.add(record, wallMs)
      }
    }
    return [...builders.values()].map(({ route, partition, builders: ofPartition }) => {
      const batches = ofPartition.map((builder): SealedRecords => {
        const { recordCount: count, firstTimestampMs, maxTimestampMs } = builder
        return { ...compress(builder.finish(), compression), count, firstTimestampMs, maxTimestampMs }
      })
      return { route, partition, batches }
    })
  }

  private complain(group: readonly Waiting[], attempt: number, { outcome, failure }: FailedTransaction): void {
    if (attempt % LOG_EVERY_ATTEMPTS !== 0) return
    const topics = [...new Set(group.map(({ route }) => route.topic))]
    this.options.log.warn({ topics, attempt, outcome, failure }, 'kafka transaction is retried')
  }
}
