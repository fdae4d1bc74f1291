/** Acknowledgements on their way to the disk. Losing one is harmless: its block is sent again and dropped there. */

import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import { PENDING_ACK_RANGES_MAX } from './limits.ts'
import type { LaneRanges } from './messages.ts'

export const NO_ACKS: LaneRanges = { priority: [], telemetry: [] }

export function isEmpty(ranges: LaneRanges): boolean {
  return ranges.priority.length === 0 && ranges.telemetry.length === 0
}

export class PendingAcks {
  private ranges: Record<Lane, readonly SequenceRange[]> = { ...NO_ACKS }

  get isEmpty(): boolean {
    return isEmpty(this.ranges)
  }

  addAll(acks: LaneRanges): void {
    for (const lane of LANES) this.add(lane, acks[lane])
  }

  add(lane: Lane, added: readonly SequenceRange[]): void {
    let ranges = this.ranges[lane]
    for (const range of added) ranges = addRange(ranges, range)
    this.ranges[lane] = ranges.slice(0, PENDING_ACK_RANGES_MAX)
  }

  /** Hands everything over. */
  take(): LaneRanges {
    const taken = this.ranges
    this.ranges = { ...NO_ACKS }
    return taken
  }
}
