/**
 * The bus without a broker: a durable log in one SQLite file, for one core. A publish resolves after the fsync of the
 * commit that carries it; consumers read what is durable and nothing else.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { BusbarError } from '../../../shared/errors.ts'
import { aborted } from '../../../shared/waiting.ts'
import { atomicBytes } from '../atomic.ts'
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
import { Partitioner } from '../partitioner.ts'
import { busStopped, topicMissing } from '../topic-errors.ts'
import { AppendQueue } from './append-queue.ts'
import { ConsumerGroup, type Member, offsetId } from './consumer-group.ts'
import {
  EMBEDDED_BYTES_MAX,
  type EmbeddedBusOptions,
  QUEUE_BYTES_MAX,
  RETENTION_PERIOD_MS,
} from './embedded-options.ts'
import { LogClient } from './log-client.ts'
import { LogPartition } from './log-partition.ts'
import type { LogState, NewBatch } from './log-protocol.ts'
import { DEFAULT_READ_LIMITS, PartitionReader } from './partition-reader.ts'
import { Retention } from './retention.ts'

interface Topic {
  readonly retentionMs: number
  readonly partitions: LogPartition[]
}

export class EmbeddedBus implements Bus {
  readonly name = 'embedded bus'
  readonly kind = 'embedded'
  private readonly options: EmbeddedBusOptions
  private readonly log: LogClient
  private readonly queue: AppendQueue
  private readonly retention: Retention
  private readonly partitioner = new Partitioner()
  private readonly topics = new Map<string, Topic>()
  private readonly offsets = new Map<string, number>()
  private readonly groups = new Map<string, ConsumerGroup>()
  private readonly tails = new Set<PartitionReader>()
  private readonly failures: Record<string, number> = {}
  private state: 'new' | 'running' | 'stopping' | 'stopped' = 'new'
  private failing: BusbarError | null = null
  private published = { records: 0, batches: 0, bytes: 0 }
  private consumedRecords = 0
  private redeliveredBatches = 0

  constructor(options: EmbeddedBusOptions) {
    this.options = options
    this.log = new LogClient()
    this.queue = new AppendQueue({
      log: this.log,
      clock: options.clock,
      queueBytesMax: options.queueBytesMax ?? QUEUE_BYTES_MAX,
      onCommitted: (batches, storedBytes) => this.committed(batches, storedBytes),
      onFailed: (error) => this.commitFailed(error),
    })
    this.retention = new Retention({
      store: this.log,
      periodMs: options.retentionPeriodMs ?? RETENTION_PERIOD_MS,
      clock: options.clock,
      log: options.log,
    })
  }

  async start(): Promise<void> {
    if (this.state !== 'new') return
    this.state = 'running'
    const { dir, bytesMax = EMBEDDED_BYTES_MAX } = this.options
    await mkdir(dir, { recursive: true })
    this.log.start()
    try {
      this.restore(await this.log.call({ kind: 'open', path: join(dir, 'bus.sqlite'), bytesMax }))
    } catch (error) {
      this.log.terminate()
      this.state = 'new'
      throw error
    }
    this.retention.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    if (this.state !== 'running') return
    this.state = 'stopping'
    this.retention.stop()
    const finished = (async () => {
      await Promise.all([...this.groups.values()].map((group) => group.stop()))
      await Promise.all([...this.tails].map((reader) => reader.stop()))
      await this.queue.flush()
      await this.log.call({ kind: 'close' })
    })()
    try {
      await Promise.race([finished, aborted(deadline)])
    } finally {
      finished.catch(() => {})
      this.log.terminate()
      this.state = 'stopped'
    }
  }

  /** One publish travels in one commit, so it is atomic whether it is asked to be or not. */
  async publish(topic: string, records: readonly BusRecord[], options: PublishOptions = {}): Promise<void> {
    if (this.state !== 'running') throw busStopped()
    const partitions = this.topicOf(topic).partitions.length
    if (records.length === 0) return
    if (options.atomic === true) atomicBytes(topic, records)
    await this.queue.append(topic, records, (key) => this.partitioner.partitionOf(key, partitions))
  }

  /** `gatherMs` means nothing here: a batch is handed over without a fetch. */
  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    if (this.state !== 'running') throw busStopped()
    for (const topic of options.topics) this.topicOf(topic)
    const member: Member = { topics: options.topics, onBatch: options.onBatch }
    const group = this.groupOf(options.group)
    group.join(member)
    return {
      stop: async () => {
        await group.leave(member)
        await this.queue.flush()
      },
    }
  }

  async tail(options: { topics: readonly string[]; onBatch: BatchHandler }): Promise<Subscription> {
    if (this.state !== 'running') throw busStopped()
    const owner = { onBatch: options.onBatch }
    const readers = options.topics.flatMap((topic) =>
      this.topicOf(topic).partitions.map((partition) => this.readerOf(partition, partition.nextOffset, () => {})),
    )
    for (const reader of readers) {
      this.tails.add(reader)
      reader.setOwner(owner)
      reader.start()
    }
    return {
      stop: async () => {
        await Promise.all(readers.map((reader) => reader.stop()))
        for (const reader of readers) this.tails.delete(reader)
      },
    }
  }

  async positions(group: string, topics: readonly string[]): Promise<readonly GroupPosition[]> {
    return topics.flatMap((topic) =>
      this.topicOf(topic).partitions.map(({ partition, nextOffset: end }) => {
        const next = this.offsets.get(offsetId(group, topic, partition)) ?? 0
        return { topic, partition, nextOffset: BigInt(next), endOffset: BigInt(end) }
      }),
    )
  }

  async createTopics(): Promise<readonly string[]> {
    if (this.state !== 'running') throw busStopped()
    const missing = this.options.topics.filter(({ topic }) => !this.topics.has(topic))
    if (missing.length === 0) return []
    const settings = missing.map(({ topic, partitions, retentionMs }) => ({ topic, partitions, retentionMs }))
    this.restore(await this.log.call({ kind: 'createTopics', topics: settings }))
    return missing.map(({ topic }) => topic)
  }

  async checkTopics(): Promise<readonly TopicDrift[]> {
    return this.options.topics.flatMap(({ topic, partitions, retentionMs }): TopicDrift[] => {
      const actual = this.topics.get(topic)
      if (actual === undefined) return [{ topic, setting: 'missing', expected: null, actual: null }]
      const drift: TopicDrift[] = []
      // More partitions than asked for are no drift: they cannot be taken back, and serve as well.
      if (actual.partitions.length < partitions) {
        drift.push({ topic, setting: 'partitions', expected: partitions, actual: actual.partitions.length })
      }
      if (actual.retentionMs !== retentionMs) {
        drift.push({ topic, setting: 'retentionMs', expected: retentionMs, actual: actual.retentionMs })
      }
      return drift
    })
  }

  health(): DependencyHealth {
    if (this.state !== 'running') return { state: 'down', detail: 'the bus is not running' }
    if (this.failing !== null)
      return { state: 'down', detail: `${this.failing.message}. ${this.failing.hint ?? ''}`.trim() }
    const corrupt = this.corruptBatches()
    if (corrupt === 0) return { state: 'up' }
    return {
      state: 'degraded',
      detail: `${corrupt} stored batches failed their checksum and were skipped. Check the disk.`,
    }
  }

  stats(): BusStats {
    return {
      publishedRecords: this.published.records,
      publishedBatches: this.published.batches,
      publishedBytes: this.published.bytes,
      queuedRecords: this.queue.queuedRecords,
      queuedBytes: this.queue.queuedBytes,
      consumedRecords: this.consumedRecords,
      redeliveredBatches: this.redeliveredBatches,
      failures: { ...this.failures },
      breaker: 'closed',
    }
  }

  private committed(batches: readonly NewBatch[], storedBytes: number): void {
    this.failing = null
    for (const { topic, partition, recordCount } of batches) {
      const entry = this.topics.get(topic)?.partitions[partition]
      if (entry === undefined) continue
      entry.appended(recordCount)
      this.published.records += recordCount
    }
    if (batches.length > 0) this.published.batches++
    this.published.bytes += storedBytes
  }

  private commitFailed(error: BusbarError): void {
    if (this.failing === null)
      this.options.log.error({ code: error.code, error: error.message }, 'embedded log cannot commit')
    this.failing = error
    this.failures[error.code] = (this.failures[error.code] ?? 0) + 1
  }

  private corruptBatches(): number {
    const partitions = [...this.topics.values()].flatMap((topic) => topic.partitions)
    return partitions.reduce((sum, { corruptBatches }) => sum + corruptBatches, 0)
  }

  private topicOf(topic: string): Topic {
    const entry = this.topics.get(topic)
    if (entry === undefined) throw topicMissing(topic)
    return entry
  }

  private groupOf(name: string): ConsumerGroup {
    let group = this.groups.get(name)
    if (group === undefined) {
      group = new ConsumerGroup((topic) =>
        this.topicOf(topic).partitions.map((partition) => {
          const id = offsetId(name, topic, partition.partition)
          return this.readerOf(partition, this.offsets.get(id) ?? 0, (nextOffset) => {
            this.offsets.set(id, nextOffset)
            this.queue.finishOffset({ group: name, topic, partition: partition.partition, nextOffset })
          })
        }),
      )
      this.groups.set(name, group)
    }
    return group
  }

  private readerOf(
    source: LogPartition,
    startOffset: number,
    onFinished: (nextOffset: number) => void,
  ): PartitionReader {
    const { clock, random, log, limits = DEFAULT_READ_LIMITS } = this.options
    return new PartitionReader({
      source,
      startOffset,
      onFinished: (nextOffset, records) => {
        this.consumedRecords += records
        onFinished(nextOffset)
      },
      onRedelivered: () => this.redeliveredBatches++,
      limits,
      clock,
      random,
      log,
    })
  }

  private restore(state: LogState): void {
    for (const { topic, retentionMs } of state.topics) {
      if (!this.topics.has(topic)) this.topics.set(topic, { retentionMs, partitions: [] })
    }
    for (const { topic, partition, nextOffset } of state.partitions) {
      const { partitions } = this.topicOf(topic)
      partitions[partition] ??= new LogPartition(this.log, topic, partition, nextOffset)
    }
    for (const { group, topic, partition, nextOffset } of state.offsets) {
      const id = offsetId(group, topic, partition)
      if (!this.offsets.has(id)) this.offsets.set(id, nextOffset)
    }
  }
}
