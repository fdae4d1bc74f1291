/**
 * Reads one partition in order and hands its records to whichever handler owns it at the moment. A change of owner, and
 * the stop, take effect between two batches, never within one.
 */

import type { Clock } from '../../../shared/clock.ts'
import { sleep } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Random } from '../../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../../shared/retry.ts'
import type { BatchHandler, ConsumedRecord } from '../bus.ts'

export interface ReadLimits {
  /** Decoded bytes that one read of the log brings at least, when there are that many. */
  readonly readBytesMax: number
  /** Records of one batch given to a handler. */
  readonly batchRecordsMax: number
}

export const DEFAULT_READ_LIMITS: ReadLimits = { readBytesMax: 1024 * 1024, batchRecordsMax: 1000 }

/** Waits between deliveries of a batch that its handler rejects. */
export const REDELIVERY_BACKOFF: BackoffPolicy = { baseMs: 100, capMs: 30_000 }
/** Waits between reads of a log that cannot be read. */
const READ_BACKOFF: BackoffPolicy = { baseMs: 100, capMs: 5_000 }

export interface PartitionSource {
  readonly topic: string
  readonly partition: number
  /** Offset that the next record will get; what is below it is durable. */
  readonly nextOffset: number
  /** Calls `fn` once, as soon as `nextOffset` has grown. */
  onAppended(fn: () => void): void
  /** Records from `offset` on, in chunks as they were stored. */
  read(offset: number, bytesMax: number): Promise<ConsumedRecord[][]>
}

export interface PartitionReaderOptions {
  readonly source: PartitionSource
  readonly startOffset: number
  /** Notes that everything below `nextOffset` is finished. */
  readonly onFinished: (nextOffset: number, records: number) => void
  readonly onRedelivered: () => void
  readonly limits: ReadLimits
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** What reads for one member of a group; identity is what counts. */
export interface Owner {
  readonly onBatch: BatchHandler
}

export class PartitionReader {
  private readonly options: PartitionReaderOptions
  private owner: Owner | null = null
  private offset: number
  private chunks: ConsumedRecord[][] = []
  private readonly stopped = new AbortController()
  private interrupt = new AbortController()
  private wake: (() => void) | null = null
  /** One function for good, so that the source holds it once however often it is given. */
  private readonly onAppended = (): void => this.wake?.()
  /** Set while a handler runs. */
  private inHand: { owner: Owner; done: Promise<void> } | null = null
  private running: Promise<void> | null = null

  constructor(options: PartitionReaderOptions) {
    this.options = options
    this.offset = options.startOffset
  }

  start(): void {
    this.running ??= this.run()
  }

  /** From the next batch on; null pauses. */
  setOwner(owner: Owner | null): void {
    if (owner === this.owner) return
    this.owner = owner
    // A wait before a redelivery to the old owner is over.
    this.interrupt.abort()
    this.interrupt = new AbortController()
    this.wake?.()
  }

  /** Resolves when `owner` has no batch of this partition in hand any more. Call after another owner is set. */
  async released(owner: Owner): Promise<void> {
    if (this.inHand?.owner === owner) await this.inHand.done
  }

  /** Resolves after the batch in hand. */
  async stop(): Promise<void> {
    this.stopped.abort()
    this.interrupt.abort()
    this.wake?.()
    await this.running
  }

  private async run(): Promise<void> {
    const { source } = this.options
    let readFailures = 0
    while (!this.stopped.signal.aborted) {
      if (this.owner === null || (this.chunks.length === 0 && this.offset >= source.nextOffset)) {
        await this.idle()
        continue
      }
      try {
        if (this.chunks.length === 0) await this.fetch()
        readFailures = 0
      } catch (error) {
        const delayMs = fullJitterMs(readFailures++, READ_BACKOFF, this.options.random)
        this.options.log.error({ ...this.place(), error: messageOf(error), delayMs }, 'embedded log cannot be read')
        await sleep(this.options.clock, delayMs, this.stopped.signal)
        continue
      }
      await this.deliverNext()
    }
  }

  /** Sleeps until there may be something to do. */
  private idle(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
      this.options.source.onAppended(this.onAppended)
    })
  }

  private async fetch(): Promise<void> {
    const { source, limits } = this.options
    const end = source.nextOffset
    const stored = await source.read(this.offset, limits.readBytesMax)
    for (const records of stored) {
      for (let i = 0; i < records.length; i += limits.batchRecordsMax) {
        this.chunks.push(
          records.length <= limits.batchRecordsMax ? records : records.slice(i, i + limits.batchRecordsMax),
        )
      }
    }
    // Retention or quarantine took what stood here; nothing below `end` is left to read.
    if (this.chunks.length === 0) this.offset = end
  }

  private async deliverNext(): Promise<void> {
    const records = this.chunks[0]
    if (records === undefined) return
    for (let attempt = 0; ; attempt++) {
      const { owner } = this
      if (owner === null || this.stopped.signal.aborted) return
      const delivery = this.deliver(owner, records)
      this.inHand = { owner, done: delivery.then(() => {}) }
      const failure = await delivery
      this.inHand = null
      if (failure === null) return
      this.options.onRedelivered()
      const delayMs = fullJitterMs(attempt, REDELIVERY_BACKOFF, this.options.random)
      this.options.log.warn(
        { ...this.place(), attempt, delayMs, error: messageOf(failure) },
        'batch will be redelivered',
      )
      await sleep(this.options.clock, delayMs, this.interrupt.signal)
    }
  }

  /** Null when the handler finished and the offset moved on, otherwise what it threw. */
  private async deliver(owner: Owner, records: ConsumedRecord[]): Promise<unknown> {
    const { topic, partition } = this.options.source
    try {
      await owner.onBatch({ topic, partition, records })
    } catch (error) {
      return error ?? new Error('the handler rejected without a reason')
    }
    this.chunks.shift()
    this.offset = Number((records[records.length - 1] as ConsumedRecord).offset) + 1
    this.options.onFinished(this.offset, records.length)
    return null
  }

  private place(): { topic: string; partition: number; offset: number } {
    return { topic: this.options.source.topic, partition: this.options.source.partition, offset: this.offset }
  }
}
