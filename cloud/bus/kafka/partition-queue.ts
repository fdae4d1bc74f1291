/**
 * The queue of one partition, where not losing data is decided. One batch is on its way at a time and the next gathers
 * meanwhile, so order holds whatever is retried, and load makes batches larger by itself. A batch stays at the head,
 * with its producer id and sequence number, until the broker says that it is stored; the broker drops what it has.
 *
 * When a batch is given up, what queued behind it goes too and the producer id is drawn anew: its publishers publish
 * again in their order, and a late answer cannot be taken for one about other records.
 */

import type { BusbarError } from '../../../shared/errors.ts'
import type { BusRecord } from '../bus.ts'
import type { ProducerIdentity } from './broker-client.ts'
import { type Compression, compress } from './compression.ts'
import { type ProducerPosition, RecordsBuilder, type SealedRecords } from './record-batch.ts'

/**
 * Uncompressed bytes of one batch. Below message.max.bytes of a broker (1,048,588 by default) even when nothing
 * compresses; a record that is larger still travels alone.
 */
export const BATCH_BYTES_MAX = 900 * 1024
export const BATCH_RECORDS_MAX = 10_000
const CAPACITY_BYTES_MIN = 8 * 1024
/** Sequence numbers are 32 bits; a new producer id starts over long before. */
const SEQUENCE_MAX = 2 ** 31 - 1 - BATCH_RECORDS_MAX

/** A publish that waits for its batches. */
export interface PendingPublish {
  /** Batches that are not stored yet. */
  remaining: number
  readonly acceptedMs: number
  readonly resolve: () => void
  readonly reject: (error: BusbarError) => void
}

interface OpenBatch {
  readonly builder: RecordsBuilder
  readonly publishes: PendingPublish[]
}

export interface Batch {
  readonly records: SealedRecords
  /** Bytes before compression; what the queue counts. */
  readonly rawBytes: number
  readonly publishes: readonly PendingPublish[]
  /** When its oldest publish was accepted, monotonic milliseconds. */
  readonly acceptedMs: number
}

/** What a queue needs from the producer. */
export interface BatchSender {
  /** Resolves when the batch is stored; rejects when it is given up. Retries in between. */
  send(queue: PartitionQueue, batch: Batch): Promise<void>
  settled(batch: Batch, error: BusbarError | null): void
}

export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  private readonly compression: Compression
  private readonly sender: BatchSender
  private readonly open: OpenBatch[] = []
  private sending: Promise<void> | null = null
  private identity: ProducerIdentity | null = null
  private sequence = 0
  private capacityBytes = CAPACITY_BYTES_MIN

  constructor(topic: string, partition: number, compression: Compression, sender: BatchSender) {
    this.topic = topic
    this.partition = partition
    this.compression = compression
    this.sender = sender
  }

  /** Adds one record of `publish`; returns the bytes it takes. Nothing is sent before `kick`. */
  add(record: BusRecord, timestampMs: number, publish: PendingPublish): number {
    let batch = this.open[this.open.length - 1]
    if (batch === undefined || isFull(batch.builder, record)) {
      batch = { builder: new RecordsBuilder(this.capacityBytes), publishes: [] }
      this.open.push(batch)
    }
    if (batch.publishes[batch.publishes.length - 1] !== publish) {
      batch.publishes.push(publish)
      publish.remaining++
    }
    const before = batch.builder.byteLength
    batch.builder.add(record, timestampMs)
    return batch.builder.byteLength - before
  }

  /** Sends what has gathered unless a batch is on its way. */
  kick(): void {
    if (this.sending !== null || this.open.length === 0) return
    this.sending = this.drain().finally(() => {
      this.sending = null
      this.kick()
    })
  }

  /** Resolves when nothing is queued any more. */
  async idle(): Promise<void> {
    while (this.sending !== null) await this.sending
  }

  /** Where the next batch stands; null while there is no producer id. */
  position(): ProducerPosition | null {
    return this.identity === null ? null : { ...this.identity, sequence: this.sequence }
  }

  identify(identity: ProducerIdentity): void {
    this.identity = identity
    this.sequence = 0
  }

  /** A new producer id is needed, and the sequence begins again. */
  forgetIdentity(): void {
    this.identity = null
  }

  private async drain(): Promise<void> {
    for (let open = this.open.shift(); open !== undefined; open = this.open.shift()) {
      const batch = this.seal(open)
      try {
        await this.sender.send(this, batch)
      } catch (error) {
        this.forgetIdentity()
        this.settle(batch, error as BusbarError)
        for (const behind of this.open.splice(0)) this.settle(this.seal(behind, 'none'), error as BusbarError)
        return
      }
      this.sequence += batch.records.count
      if (this.sequence > SEQUENCE_MAX) this.forgetIdentity()
      this.settle(batch, null)
    }
  }

  private seal({ builder, publishes }: OpenBatch, compression = this.compression): Batch {
    const { byteLength, recordCount, firstTimestampMs, maxTimestampMs } = builder
    this.capacityBytes = Math.max(CAPACITY_BYTES_MIN, Math.min(byteLength + (byteLength >> 2), BATCH_BYTES_MAX * 2))
    const records = { ...compress(builder.finish(), compression), count: recordCount, firstTimestampMs, maxTimestampMs }
    const acceptedMs = publishes[0]?.acceptedMs ?? 0
    return { records, rawBytes: byteLength, publishes, acceptedMs }
  }

  private settle(batch: Batch, error: BusbarError | null): void {
    for (const publish of batch.publishes) {
      if (error !== null) publish.reject(error)
      else if (--publish.remaining === 0) publish.resolve()
    }
    this.sender.settled(batch, error)
  }
}

function isFull(builder: RecordsBuilder, next: BusRecord): boolean {
  // Three bytes of UTF-8 for one UTF-16 unit is the worst case.
  const bytesMax = typeof next.value === 'string' ? next.value.length * 3 : next.value.length
  return builder.byteLength + bytesMax > BATCH_BYTES_MAX || builder.recordCount >= BATCH_RECORDS_MAX
}
