/** What the front of the spool and its thread say to each other, and what both report. */

import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Instant } from './boot-time.ts'
import type { StoreFailure } from './failures.ts'
import type { GapReason, SpoolItem } from './item.ts'

export interface StoreOptions {
  /** Directory of the spool; created when missing. */
  readonly dir: string
  readonly bytesMax: number
  readonly ageMaxMs: number
  readonly diskFreeBytesMin: number
  /** zstd level. */
  readonly compressionLevel: number
  /** Boot of the operating system whose monotonic clock the times carry. */
  readonly bootId: string
}

/** Records gathered into a body, not stored yet. */
export interface NewBlock extends Instant {
  readonly lane: Lane
  readonly recordCount: number
  readonly body: Uint8Array<ArrayBuffer>
}

export type LaneRanges = Readonly<Record<Lane, readonly SequenceRange[]>>

export interface ReadRequest {
  readonly lane: Lane
  readonly afterSequence: number
  /** At least one item comes, however large. */
  readonly bytesMax: number
  /** No item that begins after this one. */
  readonly throughSequence: number | null
}

export type StoreRequest = { readonly id: number; readonly now: Instant } & (
  | { readonly kind: 'open'; readonly options: StoreOptions }
  | { readonly kind: 'commit'; readonly blocks: readonly NewBlock[]; readonly acks: LaneRanges }
  | { readonly kind: 'read'; readonly read: ReadRequest }
  | { readonly kind: 'tend'; readonly compact: boolean; readonly probe: boolean }
  | { readonly kind: 'close' }
)

export interface LaneReport {
  readonly records: number
  /** Bytes that the lane takes in the file. */
  readonly bytes: number
  /** Equals nextSequence when the lane is empty. */
  readonly oldestSequence: number
  /** Corrected wall clock of the oldest block or gap, Unix milliseconds. */
  readonly oldestWallMs: number | null
  readonly nextSequence: number
}

export interface StoreReport {
  readonly epoch: string
  readonly lanes: Readonly<Record<Lane, LaneReport>>
  /** Records given up since the thread started, by reason. */
  readonly evicted: Readonly<Record<GapReason, number>>
  readonly quarantinedBlocks: number
  /** Newest damaged file that was set aside, by name; null when there is none. */
  readonly damagedFile: string | null
  /** Infinity when it cannot be told. */
  readonly diskFreeBytes: number
  /** Bytes that the thread wrote to files since it started. */
  readonly bytesWritten: number
}

export interface StoreOutcome {
  /** What a read found, or a commit stored. */
  readonly items?: SpoolItem[]
  /** Acknowledgements that wait for the next commit. */
  readonly acksLeft?: LaneRanges
  /** Compaction has more to do. */
  readonly more?: boolean
}

export type StoreReply = { readonly id: number; readonly report: StoreReport | null } & (
  | { readonly failure: null; readonly outcome: StoreOutcome }
  | { readonly failure: StoreFailure }
)
