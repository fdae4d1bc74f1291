/** What a lane of the spool holds: blocks of records, and gaps where records were given up. */

import type { Lane } from '../../shared/lanes.ts'

/** Why records were given up; the names are those of the uplink's GapReason. */
export const GAP_REASONS = ['bytes', 'age', 'disk', 'corrupt'] as const
export type GapReason = (typeof GAP_REASONS)[number]

/** One group commit, as it is on disk and as it is sent. */
export interface StoredBlock {
  readonly kind: 'block'
  readonly lane: Lane
  readonly firstSequence: number
  /** At least 1; the last sequence is firstSequence + recordCount - 1. */
  readonly recordCount: number
  readonly encoding: 'identity' | 'zstd'
  /** CRC-32C of `data`. */
  readonly crc32c: number
  /** Length of the decoded body, bytes. */
  readonly bodyBytes: number
  readonly data: Uint8Array
  /** Wall clock when the block was begun, Unix milliseconds, corrected by what its boot learned of the time later. */
  readonly wallMs: number
  readonly bootId: string
  /** Monotonic clock of that boot when the block was begun, milliseconds. */
  readonly monotonicMs: number
}

/** A range of records that will never arrive. */
export interface StoredGap {
  readonly kind: 'gap'
  readonly lane: Lane
  readonly firstSequence: number
  readonly recordCount: number
  readonly reason: GapReason
  /** When the records were given up, Unix milliseconds. */
  readonly wallMs: number
  /** When the first of them was received, corrected like that of a block; null when it is not known. */
  readonly firstWallMs: number | null
  /** The last of them was received then or before, corrected likewise; null when it is not known. */
  readonly lastWallMs: number | null
}

export type SpoolItem = StoredBlock | StoredGap

export function lastSequence(item: SpoolItem): number {
  return item.firstSequence + item.recordCount - 1
}
