/**
 * Merging small blocks. At a low rate every commit is a block of one record, which neither compresses nor packs; while
 * nobody drains the backlog, neighbours are merged into blocks of a few hundred records. Records keep their sequences,
 * order and times. An acknowledgement of a former block then covers a part of the merged one; see LaneTable.acknowledge.
 */

import { BlockBuilder } from '../../shared/block.ts'
import { assert } from '../../shared/errors.ts'
import { type Instant, wallOffsetMs } from './boot-time.ts'
import { decodeRecords, encodeBody } from './encoding.ts'
import type { BlockHead, BlockRow, RowHead } from './lane-table.ts'
import { COMPACT_AFTER_MS, COMPACT_BODY_BYTES, COMPACT_ROWS_PER_STEP_MAX } from './limits.ts'

/** A merged block has one time; blocks whose wall clocks differ by more than this are not merged, milliseconds. */
const OFFSET_TOLERANCE_MS = 50

/** A larger block gains too little from being rewritten. */
const SMALL_BODY_BYTES = COMPACT_BODY_BYTES / 2

export interface CompactionPlan {
  /** Blocks to merge, at least two, or none. */
  readonly run: readonly BlockHead[]
  /** Where the next step begins. */
  readonly resumeAt: number
  /** False when the end of the lane, or of what is old enough, was reached. */
  readonly more: boolean
}

/**
 * The next blocks to merge at or after `from`: neighbours of one boot, until they make a block of the wanted size or one
 * comes that does not fit. A run at the end of the lane waits until it is long enough, so each record is merged once.
 */
export function planCompaction(
  headAt: (sequence: number) => RowHead | null,
  from: number,
  present: { readonly boot: number; readonly now: Instant },
): CompactionPlan {
  let run: BlockHead[] = []
  let bodyBytes = 0
  let next = from
  for (let rows = 0; rows < COMPACT_ROWS_PER_STEP_MAX; rows++) {
    const head = headAt(next)
    if (head === null || isRecent(head, present)) {
      return { run: [], resumeAt: run[0]?.firstSequence ?? next, more: false }
    }
    if (!continues(run, head)) {
      if (run.length > 1) return { run, resumeAt: head.firstSequence, more: true }
      run = []
      bodyBytes = 0
    }
    next = head.firstSequence + head.recordCount
    if (head.kind === 'gap' || head.bodyBytes > SMALL_BODY_BYTES) continue
    run.push(head)
    bodyBytes += head.bodyBytes
    if (bodyBytes >= COMPACT_BODY_BYTES) break
  }
  return { run: run.length > 1 ? run : [], resumeAt: next, more: true }
}

/** The blocks as one, with the first one's time; throws BLOCK_CORRUPT naming no block when one cannot be decoded. */
export function mergeBlocks(blocks: readonly BlockRow[], level: number): BlockRow {
  const first = blocks[0]
  assert(first !== undefined, 'there is a block to merge')
  const builder = new BlockBuilder(COMPACT_BODY_BYTES)
  for (const block of blocks) {
    const later = block.monotonicMs - first.monotonicMs
    for (const { topic, delayMs, payload } of decodeRecords(block)) builder.add(topic, later + delayMs, payload)
  }
  const { kind, firstSequence, boot, wallMs, monotonicMs } = first
  const recordCount = builder.recordCount
  return { kind, firstSequence, recordCount, boot, wallMs, monotonicMs, ...encodeBody(builder.finish(), level) }
}

function continues(run: readonly BlockHead[], head: RowHead): boolean {
  const first = run[0]
  const last = run.at(-1)
  if (first === undefined || last === undefined) return true
  return (
    head.kind === 'block' &&
    head.bodyBytes <= SMALL_BODY_BYTES &&
    head.boot === first.boot &&
    head.firstSequence === last.firstSequence + last.recordCount &&
    head.monotonicMs >= last.monotonicMs &&
    Math.abs(wallOffsetMs(head) - wallOffsetMs(first)) <= OFFSET_TOLERANCE_MS
  )
}

/** What was stored a moment ago may be on its way to the cloud. */
function isRecent(head: RowHead, present: { readonly boot: number; readonly now: Instant }): boolean {
  return (
    head.kind === 'block' && head.boot === present.boot && present.now.monotonicMs - head.monotonicMs < COMPACT_AFTER_MS
  )
}
