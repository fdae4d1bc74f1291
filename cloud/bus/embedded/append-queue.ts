/**
 * Gathers what is published, and the offsets that consumers finish, while one commit is in flight; what has gathered
 * then becomes the next commit. There is no timer on the way of a record: a lone one is written at once.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import type { BusRecord } from '../bus.ts'
import { BatchBuilder } from './batch-body.ts'
import type { LogClient } from './log-client.ts'
import type { GroupOffset, NewBatch } from './log-protocol.ts'

/** A batch that reaches this many bytes is closed and another one begun. */
const BATCH_BYTES_MAX = 1024 * 1024
const BATCH_CAPACITY_BYTES = 16 * 1024
/**
 * Offsets wait this long for a commit of records to travel with, and are then written by themselves. Losing them means
 * a redelivery, never a loss.
 */
const OFFSET_DELAY_MS = 100

export interface AppendQueueOptions {
  readonly log: Pick<LogClient, 'call'>
  readonly clock: Clock
  /** Bytes accepted and not yet durable; at the limit publishers wait. */
  readonly queueBytesMax: number
  /** Called after each commit, before its publishers are told. */
  readonly onCommitted: (batches: readonly NewBatch[], storedBytes: number) => void
  readonly onFailed: (error: BusbarError, records: number) => void
}

/** The partition of a key within the topic that is being appended to. */
export type PartitionOf = (key: string | null) => number

/** What one commit will carry. */
interface Gathering {
  readonly builders: Map<string, OpenBatch>
  readonly closed: NewBatch[]
  bytes: number
  records: number
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: BusbarError) => void
}

interface OpenBatch {
  readonly topic: string
  readonly partition: number
  builder: BatchBuilder
}

export class AppendQueue {
  private readonly options: AppendQueueOptions
  private gathering: Gathering | null = null
  private offsets = new Map<string, GroupOffset>()
  private inFlight: Promise<void> | null = null
  private inFlightBytes = 0
  private inFlightRecords = 0
  private scheduled = false
  private offsetTimer: Timer | null = null
  private readonly waiting: (() => void)[] = []
  /** Of batches begun, so that a steady load does not grow its buffers anew each time. */
  private capacityBytes = BATCH_CAPACITY_BYTES

  constructor(options: AppendQueueOptions) {
    this.options = options
  }

  get queuedBytes(): number {
    return this.inFlightBytes + (this.gathering?.bytes ?? 0)
  }

  get queuedRecords(): number {
    return this.inFlightRecords + (this.gathering?.records ?? 0)
  }

  /**
   * Appends records; resolves when they are durable. While the queue is full it waits, first come first served, so that
   * one publisher's records stay in order. `records` must not change before that.
   */
  append(topic: string, records: readonly BusRecord[], partitionOf: PartitionOf): Promise<void> {
    if (this.waiting.length === 0 && this.queuedBytes < this.options.queueBytesMax) {
      return this.admit(topic, records, partitionOf)
    }
    return new Promise((resolve) => {
      this.waiting.push(() => resolve(this.admit(topic, records, partitionOf)))
    })
  }

  private admit(topic: string, records: readonly BusRecord[], partitionOf: PartitionOf): Promise<void> {
    this.gathering ??= beginGathering()
    const { gathering } = this
    const open: (OpenBatch | undefined)[] = []
    for (const record of records) {
      const partition = partitionOf(record.key)
      const batch = open[partition] ?? this.openBatch(gathering, topic, partition)
      open[partition] = batch
      const before = batch.builder.byteLength
      batch.builder.add(record)
      gathering.bytes += batch.builder.byteLength - before
      if (batch.builder.byteLength >= BATCH_BYTES_MAX) this.close(gathering, batch)
    }
    gathering.records += records.length
    this.schedule()
    return gathering.done
  }

  finishOffset(offset: GroupOffset): void {
    this.offsets.set(offsetId(offset), offset)
    this.scheduleOffsets()
  }

  /** Resolves when all that was given so far is durable or has failed. */
  async flush(): Promise<void> {
    await this.inFlight
    do {
      if (this.inFlight === null && (this.gathering !== null || this.offsets.size > 0)) this.commitNext()
      await this.inFlight
    } while (this.gathering !== null)
  }

  private openBatch(gathering: Gathering, topic: string, partition: number): OpenBatch {
    const id = `${topic}/${partition}`
    let batch = gathering.builders.get(id)
    if (batch === undefined) {
      batch = { topic, partition, builder: new BatchBuilder(this.capacityBytes) }
      gathering.builders.set(id, batch)
    }
    return batch
  }

  private close(gathering: Gathering, { topic, partition, builder }: OpenBatch, next = true): void {
    if (builder.recordCount === 0) return
    gathering.closed.push({
      topic,
      partition,
      recordCount: builder.recordCount,
      timestampMs: this.options.clock.wallMs(),
      body: builder.finish(),
    })
    const batch = gathering.builders.get(`${topic}/${partition}`)
    if (next && batch !== undefined) batch.builder = new BatchBuilder(this.capacityBytes)
  }

  private schedule(): void {
    if (this.inFlight !== null || this.scheduled) return
    this.scheduled = true
    // After the work of this turn of the loop, so that publishers of the same turn share the commit.
    setImmediate(() => {
      this.scheduled = false
      if (this.inFlight === null && (this.gathering !== null || this.offsets.size > 0)) this.commitNext()
    })
  }

  private commitNext(): void {
    this.inFlight = this.commit().finally(() => {
      this.inFlight = null
      this.inFlightBytes = 0
      this.inFlightRecords = 0
      while (this.waiting.length > 0 && this.queuedBytes < this.options.queueBytesMax) this.waiting.shift()?.()
      if (this.gathering !== null) this.schedule()
      // Offsets whose time came while this commit was in flight; an idle bus has no other commit to travel with.
      else if (this.offsets.size > 0) this.scheduleOffsets()
    })
  }

  private async commit(): Promise<void> {
    const { gathering } = this
    const offsets = [...this.offsets.values()]
    this.gathering = null
    this.offsets = new Map()
    this.offsetTimer?.cancel()
    this.offsetTimer = null
    if (gathering !== null) {
      for (const batch of gathering.builders.values()) this.close(gathering, batch, false)
      this.inFlightBytes = gathering.bytes
      this.inFlightRecords = gathering.records
    }
    const batches = gathering?.closed ?? []
    this.capacityBytes = nextCapacity(batches)
    // The bodies are gone once posted; what is told afterwards is only what they were.
    const buffers = batches.map(({ body }) => body.buffer)
    try {
      const { storedBytes } = await this.options.log.call({ kind: 'commit', batches, offsets }, buffers)
      this.options.onCommitted(batches, storedBytes)
      gathering?.resolve()
    } catch (error) {
      const failure =
        error instanceof BusbarError ? error : new BusbarError(String(error), { code: 'BUS_STORE_FAILED' })
      for (const offset of offsets) {
        const id = offsetId(offset)
        if (!this.offsets.has(id)) this.offsets.set(id, offset)
      }
      // What gathered behind fails with it: were it stored, what its publishers publish again would come after it.
      const behind = this.gathering as Gathering | null
      this.gathering = null
      this.options.onFailed(failure, (gathering?.records ?? 0) + (behind?.records ?? 0))
      gathering?.reject(failure)
      behind?.reject(failure)
    }
  }

  private scheduleOffsets(): void {
    this.offsetTimer ??= this.options.clock.after(OFFSET_DELAY_MS, () => {
      this.offsetTimer = null
      this.schedule()
    })
  }
}

function offsetId({ group, topic, partition }: GroupOffset): string {
  return `${group}\n${topic}\n${partition}`
}

function beginGathering(): Gathering {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // Every publisher has its own handler; without one the process must not die of it.
  promise.catch(() => {})
  return { builders: new Map(), closed: [], bytes: 0, records: 0, done: promise, resolve, reject }
}

function nextCapacity(batches: readonly NewBatch[]): number {
  let largest = 0
  for (const { body } of batches) largest = Math.max(largest, body.length)
  return Math.min(BATCH_BYTES_MAX + BATCH_CAPACITY_BYTES, Math.max(BATCH_CAPACITY_BYTES, largest + (largest >> 2)))
}
