/**
 * The bus: partitioned, durable, replayable topics. Two implementations, the embedded log and Kafka, pass one contract
 * suite; nothing above this folder knows which one it has.
 */

import type { Part } from '../../shared/lifecycle.ts'

export interface BusRecord {
  /** Records of one key keep their order; null spreads them. */
  readonly key: string | null
  /** A string is stored as UTF-8. */
  readonly value: string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
}

export interface ConsumedRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly key: string | null
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
  /** When the bus took it in, Unix milliseconds. */
  readonly timestampMs: number
}

/** Records of one partition, ascending by offset, never empty. */
export interface ConsumedBatch {
  readonly topic: string
  readonly partition: number
  readonly records: readonly ConsumedRecord[]
}

/**
 * Called with one batch of a partition at a time; partitions may run side by side. When it resolves the offsets are
 * committed; when it rejects the same batch is delivered again after a backoff, so effects must be idempotent.
 */
export type BatchHandler = (batch: ConsumedBatch) => Promise<void>

export interface Subscription {
  /** Waits for the batch in hand, commits it, and leaves the group. */
  stop(): Promise<void>
}

export interface PublishOptions {
  /**
   * All of the records or none: no reader sees some of them, whatever ends the publish. Those of several partitions are a
   * transaction on Kafka, which costs more than publishing them one by one; other programs have to read with
   * `isolation.level=read_committed` then. A batch that the bus cannot take as one is BATCH_TOO_LARGE, not retryable.
   */
  readonly atomic?: boolean
}

export interface SubscribeOptions {
  readonly group: string
  readonly topics: readonly string[]
  readonly onBatch: BatchHandler
  /**
   * How long the bus may hold records back to hand over more at once, milliseconds. Default 0. For consumers that nobody
   * waits for: under a light load a fetch for every record costs the brokers more than the record.
   */
  readonly gatherMs?: number
  /**
   * Records of one batch at most; a bus may hand over fewer. Default 1,000. For consumers whose effects cost less the more of
   * them are made at once.
   */
  readonly batchRecordsMax?: number
}

/** How far a consumer group has come in one partition. */
export interface GroupPosition {
  readonly topic: string
  readonly partition: number
  /** Of the first record that is not known to be handled by the group, whichever core has the partition. */
  readonly nextOffset: bigint
  /** Of the record that will be published next; on Kafka of the first of a transaction that is not over, if there is one. */
  readonly endOffset: bigint
}

/** A topic that differs from the catalogue. */
export interface TopicDrift {
  readonly topic: string
  readonly setting: 'missing' | 'partitions' | 'retentionMs' | 'segmentMs' | 'replicationFactor' | 'minInsyncReplicas'
  readonly expected: number | null
  readonly actual: number | null
}

export interface DependencyHealth {
  readonly state: 'up' | 'degraded' | 'down'
  /** What is wrong and the next step; absent when up. */
  readonly detail?: string
}

/** Totals since the start, and what is held now. */
export interface BusStats {
  /** Records that are durable. */
  readonly publishedRecords: number
  /** Appends that carried them: Kafka produce requests, or commits of the embedded log. */
  readonly publishedBatches: number
  /** Bytes of them as sent or stored, compressed. */
  readonly publishedBytes: number
  /** Accepted and not yet durable. */
  readonly queuedRecords: number
  readonly queuedBytes: number
  /** Records whose handler has finished. */
  readonly consumedRecords: number
  /** Batches that a handler rejected and that were delivered again. */
  readonly redeliveredBatches: number
  /** Appends that failed and were tried again or given up, by cause. */
  readonly failures: Readonly<Record<string, number>>
  /** Of the producer; the embedded log has none and is always closed. */
  readonly breaker: 'closed' | 'open' | 'half-open'
  /** Where values may be Avro. */
  readonly encoding?: EncodingStats
}

/** Totals since the start. */
export interface EncodingStats {
  /** Records written as Avro. */
  readonly encodedRecords: number
  /** Records read as Avro. */
  readonly decodedRecords: number
  /** Records that did not fit the schema of their topic. */
  readonly refusedRecords: number
  /** Records that begin as Avro and could not be read, by cause. */
  readonly undecodable: Readonly<Record<string, number>>
  readonly registryRequests: number
  /** Requests that the schema registry did not answer, or refused. */
  readonly registryFailures: Readonly<Record<string, number>>
}

export interface Bus extends Part {
  /** 'embedded' or 'kafka', for health and logs. */
  readonly kind: 'embedded' | 'kafka'
  /**
   * Appends the records of one topic. Resolves after every one is durable (fsync, or Kafka acks=all); rejects with a
   * BusbarError when that is not known, and the caller publishes them again, less those that `storedOf` names
   * (publish-error.ts). A record that can never be stored is RECORD_TOO_LARGE or RECORD_REFUSED, not retryable.
   */
  publish(topic: string, records: readonly BusRecord[], options?: PublishOptions): Promise<void>
  /** Joins a consumer group; a group without offsets begins at the oldest record. */
  subscribe(options: SubscribeOptions): Promise<Subscription>
  /** Follows topics from now on, outside any group, every partition; for live fan-out. */
  tail(options: { topics: readonly string[]; onBatch: BatchHandler }): Promise<Subscription>
  /** How far a group has come, every partition of the topics. Some requests to the brokers: not for every record. */
  positions(group: string, topics: readonly string[]): Promise<readonly GroupPosition[]>
  /** Creates the catalogue's topics that do not exist; never alters one that does. */
  createTopics(): Promise<readonly string[]>
  /** What differs from the catalogue. */
  checkTopics(): Promise<readonly TopicDrift[]>
  /** State at this moment, without I/O. */
  health(): DependencyHealth
  stats(): BusStats
}
