/**
 * The blocks stored last, kept in memory for an uplink that keeps up: it gets them without asking the spool's thread,
 * which halves what a record costs on the way up. Whoever reads further back, or later, reads from the disk.
 */

import type { Clock } from '../../shared/clock.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { containsRange } from '../../shared/sequence-ranges.ts'
import { lastSequence, type SpoolItem, type StoredBlock } from './item.ts'
import { RECENT_BYTES_MAX, RECENT_MS } from './limits.ts'

interface ReadLimits {
  readonly bytesMax: number
  readonly throughSequence?: number
}

interface Recent {
  readonly block: StoredBlock
  /** Monotonic. */
  readonly storedMs: number
}

export class RecentBlocks {
  private readonly clock: Clock
  private readonly lanes: Readonly<Record<Lane, RecentOfLane>> = {
    priority: new RecentOfLane(),
    telemetry: new RecentOfLane(),
  }

  constructor(clock: Clock) {
    this.clock = clock
  }

  stored(items: readonly SpoolItem[]): void {
    const nowMs = this.clock.monotonicMs()
    for (const item of items) if (item.kind === 'block') this.lanes[item.lane].add(item, nowMs)
  }

  /** What `Spool.readAfter` gives, or null when that needs the disk. */
  after(lane: Lane, afterSequence: number, limits: ReadLimits): StoredBlock[] | null {
    return this.lanes[lane].after(afterSequence, limits, this.clock.monotonicMs())
  }

  acknowledged(lane: Lane, ranges: readonly SequenceRange[]): void {
    this.lanes[lane].acknowledged(ranges)
  }

  /** Where records were given up there are gaps now. */
  clear(): void {
    for (const lane of LANES) this.lanes[lane].clear()
  }
}

class RecentOfLane {
  private recent: Recent[] = []
  private bytes = 0
  /** Everything stored from here on that is not in `recent` was acknowledged. */
  private completeFrom = Number.POSITIVE_INFINITY
  private end = 0

  add(block: StoredBlock, nowMs: number): void {
    if (this.recent.length === 0 || block.firstSequence !== this.end) this.clear(block.firstSequence)
    this.end = lastSequence(block) + 1
    this.recent.push({ block, storedMs: nowMs })
    this.bytes += bytesOf(block)
    for (let oldest = this.recent[0]; oldest !== undefined; oldest = this.recent[0]) {
      if (this.bytes <= RECENT_BYTES_MAX && nowMs - oldest.storedMs <= RECENT_MS) break
      this.recent.shift()
      this.bytes -= bytesOf(oldest.block)
      this.completeFrom = lastSequence(oldest.block) + 1
    }
  }

  after(afterSequence: number, limits: ReadLimits, nowMs: number): StoredBlock[] | null {
    if (afterSequence + 1 < this.completeFrom || afterSequence + 1 >= this.end) return null
    const blocks: StoredBlock[] = []
    let bytes = 0
    for (const { block, storedMs } of this.recent) {
      if (lastSequence(block) <= afterSequence) continue
      // The thread may have learned more of its time since, or merged it.
      if (nowMs - storedMs > RECENT_MS) return null
      if (limits.throughSequence !== undefined && block.firstSequence > limits.throughSequence) break
      bytes += block.data.length
      if (blocks.length > 0 && bytes > limits.bytesMax) break
      blocks.push(block)
    }
    return blocks
  }

  acknowledged(ranges: readonly SequenceRange[]): void {
    this.recent = this.recent.filter(({ block }) => {
      const gone = containsRange(ranges, { first: block.firstSequence, last: lastSequence(block) })
      if (gone) this.bytes -= bytesOf(block)
      return !gone
    })
  }

  clear(completeFrom = Number.POSITIVE_INFINITY): void {
    this.recent = []
    this.bytes = 0
    this.completeFrom = completeFrom
  }
}

/** What it keeps from being freed: a body that was not worth compressing lies in the buffer it was built in. */
function bytesOf(block: StoredBlock): number {
  return block.data.buffer.byteLength
}
