/**
 * Up to when everything was heard that devices said: the consumer group that notes it may be behind, on any core, and what waits
 * for it on the bus must not be taken for silence.
 */

import type { Clock } from '../../shared/clock.ts'
import type { GroupPosition } from '../bus/bus.ts'

export interface HearingOptions {
  /** Of the group that notes when devices were heard of. */
  readonly positions: () => Promise<readonly GroupPosition[]>
  readonly clock: Clock
}

/** Where the partitions ended at some time. */
interface Mark {
  readonly atMonotonicMs: number
  readonly ends: ReadonlyMap<string, bigint>
}

export class Hearing {
  private readonly options: HearingOptions
  private mark: Mark | null = null
  private throughMonotonicMs: number | null = null

  constructor(options: HearingOptions) {
    this.options = options
  }

  /**
   * How long ago that was, milliseconds; null while it is not known. Under load some record always waits, so that the answer is
   * the time of the question before.
   */
  async behindMs(): Promise<number | null> {
    const { positions, clock } = this.options
    const atMonotonicMs = clock.monotonicMs()
    const found = await positions()
    const asked: Mark = { atMonotonicMs, ends: new Map(found.map((each) => [keyOf(each), each.endOffset])) }
    if (isThrough(asked, found)) {
      this.throughMonotonicMs = atMonotonicMs
      this.mark = null
    } else if (this.mark === null) {
      this.mark = asked
    } else if (isThrough(this.mark, found)) {
      this.throughMonotonicMs = this.mark.atMonotonicMs
      this.mark = asked
    }
    return this.throughMonotonicMs === null ? null : clock.monotonicMs() - this.throughMonotonicMs
  }
}

function isThrough({ ends }: Mark, found: readonly GroupPosition[]): boolean {
  return found.every((each) => each.nextOffset >= (ends.get(keyOf(each)) ?? 0n))
}

function keyOf({ topic, partition }: GroupPosition): string {
  return `${topic}/${partition}`
}
