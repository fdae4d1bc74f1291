/**
 * The queue of one partition, where not losing data is decided. One batch is on its way at a time and the next gathers
 * meanwhile, so order holds whatever is retried, and load makes batches larger by itself. A batch stays at the head,
 * with its producer id and sequence number, until the broker says that it is stored; the broker drops what it has.
 *
 * When a batch is given up, what queued behind it goes too and the producer id is drawn anew: its publishers publish
 * again in their order, and a late answer cannot be taken for one about other records.
 *
 * A batch that the broker does not take, for its size or for one of its records, is halved until the record that is to
 * blame stands alone; that one is refused, and nothing else. Records that are published as one are never in two batches: a
 * log has a batch whole or not at all. So they are refused together.
 */

import type { BusbarError } from '../../../shared/errors.ts'
import type { BusRecord } from '../bus.ts'
import type { ProducerIdentity } from './broker-client.ts'
import { type Compression, compress } from './compression.ts'
import type { PendingPublish, PublishPart } from './pending-publish.ts'
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

interface OpenBatch {
  readonly builder: RecordsBuilder
  readonly parts: PublishPart[]
}

export interface Batch {
  readonly records: SealedRecords
  /** Bytes before compression; what the queue counts. */
  readonly rawBytes: number
  readonly parts: readonly PublishPart[]
  /** When its oldest publish was accepted, monotonic milliseconds. */
  readonly acceptedMs: number
}

/** What a queue needs from the producer. */
export interface BatchSender {
  /**
   * Resolves with null when the batch is stored, or with Kafka's error code when the broker does not take these records
   * together, and has none of them. Rejects when the batch is given up. Retries in between.
   */
  send(queue: PartitionQueue, batch: Batch): Promise<number | null>
  /** The error for the only record of a batch that was refused with `errorCode`. */
  refusalOf(queue: PartitionQueue, batch: Batch, errorCode: number): Promise<BusbarError>
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
  add(publish: PendingPublish, index: number): number {
    const record = publish.records[index] as BusRecord
    let batch = this.open[this.open.length - 1]
    if (batch === undefined || isFull(batch.builder, record)) {
      batch = { builder: new RecordsBuilder(this.capacityBytes), parts: [] }
      this.open.push(batch)
    }
    return addTo(batch, publish, index)
  }

  /** Adds all records of `publish`, which take `bytesMax` at most, to one batch; returns the bytes they take. */
  addWhole(publish: PendingPublish, bytesMax: number): number {
    publish.isWhole = true
    const { length } = publish.records
    let batch = this.open[this.open.length - 1]
    if (
      batch === undefined ||
      batch.builder.byteLength + bytesMax > BATCH_BYTES_MAX ||
      batch.builder.recordCount + length > BATCH_RECORDS_MAX
    ) {
      batch = { builder: new RecordsBuilder(this.capacityBytes), parts: [] }
      this.open.push(batch)
    }
    let bytes = 0
    for (let index = 0; index < length; index++) bytes += addTo(batch, publish, index)
    return bytes
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
        await this.deliver(batch)
      } catch (error) {
        this.forgetIdentity()
        for (const behind of this.open.splice(0)) this.settle(this.seal(behind, 'none'), error as BusbarError)
        return
      }
    }
  }

  /** Settles the batch, whole or in parts; rejects when what is behind it has to be given up as well. */
  private async deliver(batch: Batch): Promise<void> {
    let unfit: number | null
    try {
      unfit = await this.sender.send(this, batch)
    } catch (error) {
      this.settle(batch, error as BusbarError)
      throw error
    }
    const { count } = batch.records
    if (unfit === null) {
      this.sequence += count
      if (this.sequence > SEQUENCE_MAX) this.forgetIdentity()
      this.settle(batch, null)
    } else if (unitsOf(batch).length === 1) {
      // The broker has said that it has not stored it, so the sequence goes on without it.
      this.settle(batch, await this.sender.refusalOf(this, batch, unfit))
    } else {
      await this.deliverHalves(batch)
    }
  }

  private async deliverHalves(batch: Batch): Promise<void> {
    const [first, second] = this.halve(batch)
    try {
      await this.deliver(first)
    } catch (error) {
      this.settle(second, error as BusbarError)
      throw error
    }
    await this.deliver(second)
  }

  /** Both halves in their order, each for as many of the batch's publishes as it holds. */
  private halve(batch: Batch): [Batch, Batch] {
    const halves = [0, 1].map((): OpenBatch => ({ builder: new RecordsBuilder(batch.rawBytes >> 1), parts: [] }))
    const [into, behind] = halves as [OpenBatch, OpenBatch]
    const units = unitsOf(batch)
    let position = 0
    for (const [unit, { publish, indexes }] of units.entries()) {
      // Neither half may be empty, however much belongs together.
      const isFirst = unit === 0 || (unit < units.length - 1 && position < batch.records.count >> 1)
      for (const index of indexes) addTo(isFirst ? into : behind, publish, index)
      position += indexes.length
    }
    for (const { publish } of batch.parts) publish.divided()
    const [first, second] = halves.map((half) => this.seal(half)) as [Batch, Batch]
    // Positions are written in fewer bytes by now; what the queue counted has to come back nevertheless.
    return [first, { ...second, rawBytes: batch.rawBytes - first.rawBytes }]
  }

  private seal({ builder, parts }: OpenBatch, compression = this.compression): Batch {
    const { byteLength, recordCount, firstTimestampMs, maxTimestampMs } = builder
    this.capacityBytes = Math.max(CAPACITY_BYTES_MIN, Math.min(byteLength + (byteLength >> 2), BATCH_BYTES_MAX * 2))
    const records = { ...compress(builder.finish(), compression), count: recordCount, firstTimestampMs, maxTimestampMs }
    const acceptedMs = parts[0]?.publish.acceptedMs ?? 0
    return { records, rawBytes: byteLength, parts, acceptedMs }
  }

  private settle(batch: Batch, error: BusbarError | null): void {
    for (const part of batch.parts) part.publish.settle(part, error)
    this.sender.settled(batch, error)
  }
}

/** What has to stay in one batch: a record, or all those of a publish that is stored whole or not at all. */
function unitsOf(batch: Batch): { publish: PendingPublish; indexes: number[] }[] {
  return batch.parts.flatMap((part) => {
    const { publish } = part
    const indexes = publish.indexesOf(part)
    return publish.isWhole ? [{ publish, indexes }] : indexes.map((index) => ({ publish, indexes: [index] }))
  })
}

/** Whether records that take `bytesMax` at most may travel as one batch. */
export function fitsOneBatch(records: readonly BusRecord[], bytesMax: number): boolean {
  return bytesMax <= BATCH_BYTES_MAX && records.length <= BATCH_RECORDS_MAX
}

function addTo({ builder, parts }: OpenBatch, publish: PendingPublish, index: number): number {
  const part = parts[parts.length - 1]
  if (part === undefined || part.publish !== publish) parts.push(publish.begin(index))
  else part.last = index
  const before = builder.byteLength
  builder.add(publish.records[index] as BusRecord, publish.wallMs)
  return builder.byteLength - before
}

/** Whether a batch may be too large with one more record. */
export function isFull(builder: RecordsBuilder, next: BusRecord): boolean {
  // Three bytes of UTF-8 for one UTF-16 unit is the worst case.
  const bytesMax = typeof next.value === 'string' ? next.value.length * 3 : next.value.length
  return builder.byteLength + bytesMax > BATCH_BYTES_MAX || builder.recordCount >= BATCH_RECORDS_MAX
}
