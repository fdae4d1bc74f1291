/**
 * A publish on its way: its records are spread over the queues of several partitions, and it ends when every one of them
 * is stored or given up. So the publisher learns which are stored, and nothing of it is still moving when it publishes
 * the others again.
 */

import type { BusbarError } from '../../../shared/errors.ts'
import type { BusRecord } from '../bus.ts'
import { PublishError } from '../publish-error.ts'

/** The records of one publish in one batch: those of the batch's partition, of which these are the first and the last. */
export interface PublishPart {
  readonly publish: PendingPublish
  readonly first: number
  last: number
}

export interface PublishTimes {
  /** Unix milliseconds, the time of the records. */
  readonly wallMs: number
  /** Monotonic milliseconds. */
  readonly acceptedMs: number
}

export class PendingPublish {
  readonly records: readonly BusRecord[]
  /** Unix milliseconds, the time of the records. */
  readonly wallMs: number
  /** Monotonic milliseconds. */
  readonly acceptedMs: number
  /** Its records are of one partition and in one batch, stored all or none. */
  isWhole = false
  private readonly end: { resolve: () => void; reject: (error: BusbarError) => void }
  private readonly partitions: Uint16Array
  private openParts = 0
  private failure: BusbarError | null = null
  /** 1 for each record that is given up; most publishes need none. */
  private givenUp: Uint8Array | null = null

  constructor(
    records: readonly BusRecord[],
    times: PublishTimes,
    end: { resolve: () => void; reject: (error: BusbarError) => void },
  ) {
    this.records = records
    this.wallMs = times.wallMs
    this.acceptedMs = times.acceptedMs
    this.end = end
    this.partitions = new Uint16Array(records.length)
  }

  /** Says where a record goes, before it is put into a batch of that partition. */
  place(index: number, partition: number): void {
    this.partitions[index] = partition
  }

  /** Counts the batches that have to end before this publish does. */
  begin(first: number): PublishPart {
    this.openParts++
    return { publish: this, first, last: first }
  }

  /** One of its batches does not end, but others that were begun in its place. */
  divided(): void {
    this.openParts--
  }

  /** Indexes of the records of a part, ascending. */
  indexesOf({ first, last }: PublishPart): number[] {
    const partition = this.partitions[first]
    const indexes: number[] = []
    for (let index = first; index <= last; index++) if (this.partitions[index] === partition) indexes.push(index)
    return indexes
  }

  /** A part is stored when `error` is null, otherwise it is given up. */
  settle(part: PublishPart, error: BusbarError | null): void {
    if (error !== null) {
      this.givenUp ??= new Uint8Array(this.records.length)
      for (const index of this.indexesOf(part)) this.givenUp[index] = 1
      // What can be published again later is: a refusal comes back then, and by itself.
      if (this.failure === null || (error.retryable && !this.failure.retryable)) this.failure = error
    }
    if (--this.openParts > 0) return
    const { failure, givenUp } = this
    if (failure === null || givenUp === null) {
      this.end.resolve()
      return
    }
    const stored = this.records.flatMap((_, index) => (givenUp[index] === 0 ? [index] : []))
    this.end.reject(stored.length === 0 ? failure : new PublishError(failure, stored))
  }
}
