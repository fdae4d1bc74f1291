/**
 * What a consumer has finished and not committed yet. One commit is on its way at a time; what it could not commit is put
 * back and tried again. What was finished under an older assignment of the group is never committed under a newer one:
 * the partition may be somebody else's by then, and further.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import type { Random } from '../../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../../shared/retry.ts'

/** `offset` is that of the next record to read. */
export interface FinishedOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: string
}

export interface OffsetCommitsOptions {
  /** Commits under the assignment that holds now; rejects when that is not known to have worked. */
  readonly commit: (offsets: readonly FinishedOffset[]) => Promise<void>
  readonly onFailed: (error: unknown) => void
  readonly clock: Clock
  readonly random: Random
}

/**
 * Offsets are committed this long after a batch is finished, all partitions together: a commit a batch would cost more
 * than the batch under a light load. A crash in between means a redelivery, never a loss.
 */
const COMMIT_DELAY_MS = 100
const RETRY_BACKOFF: BackoffPolicy = { baseMs: 200, capMs: 5_000 }

export class OffsetCommits {
  private readonly options: OffsetCommitsOptions
  private finished = new Map<string, FinishedOffset>()
  private assignment = 0
  private failures = 0
  private timer: Timer | null = null
  private committing: Promise<void> | null = null

  constructor(options: OffsetCommitsOptions) {
    this.options = options
  }

  /** Of the assignment that holds now; a batch remembers under which it was received. */
  get currentAssignment(): number {
    return this.assignment
  }

  /** The group has shared its partitions anew: whoever has them now begins at what is committed. */
  reassigned(): void {
    this.assignment++
    this.finished.clear()
    this.failures = 0
  }

  /** Notes what was finished, unless the batch is of an older assignment. */
  finish(offset: FinishedOffset, assignment: number): void {
    if (assignment !== this.assignment) return
    this.finished.set(idOf(offset), offset)
    this.schedule(COMMIT_DELAY_MS)
  }

  /** Commits what is left, once; resolves when the broker has answered or cannot. */
  async flush(): Promise<void> {
    this.cancel()
    await this.committing
    await this.commitFinished()
    this.cancel()
  }

  /** Forgets what is left. */
  cancel(): void {
    this.timer?.cancel()
    this.timer = null
  }

  private schedule(delayMs: number): void {
    if (this.committing !== null) return
    this.timer ??= this.options.clock.after(delayMs, () => {
      this.timer = null
      void this.commitFinished()
    })
  }

  private commitFinished(): Promise<void> {
    this.committing ??= this.commitOnce().finally(() => {
      this.committing = null
      if (this.finished.size === 0) return
      const { random } = this.options
      this.schedule(this.failures === 0 ? COMMIT_DELAY_MS : fullJitterMs(this.failures - 1, RETRY_BACKOFF, random))
    })
    return this.committing
  }

  private async commitOnce(): Promise<void> {
    const offsets = [...this.finished.values()]
    if (offsets.length === 0) return
    const { assignment } = this
    this.finished = new Map()
    try {
      await this.options.commit(offsets)
      this.failures = 0
    } catch (error) {
      this.options.onFailed(error)
      if (assignment !== this.assignment) return
      this.failures++
      for (const offset of offsets) {
        const id = idOf(offset)
        // What was finished meanwhile is further.
        if (!this.finished.has(id)) this.finished.set(id, offset)
      }
    }
  }
}

function idOf({ topic, partition }: FinishedOffset): string {
  return `${topic}/${partition}`
}
