/** The rows of one lane and its counters. Every method that writes is called within a transaction of the store. */

import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import { addRange, containsRange, missingFrom } from '../../shared/sequence-ranges.ts'
import type { SqliteDatabase, SqliteStatement } from '../../shared/sqlite.ts'
import type { Instant } from './boot-time.ts'
import type { EncodedBody, Encoding } from './encoding.ts'
import { decodeGapTimes, earliestBoot, encodeGapTimes, type GapTimes, joinTimes } from './gap-times.ts'
import type { GapReason } from './item.ts'
import { PENDING_ACK_RANGES_MAX } from './limits.ts'
import { rowBytes } from './row-bytes.ts'

/** A block as it is stored; the wall clock is the one of its time, not corrected. */
export interface BlockRow extends EncodedBody, Instant {
  readonly kind: 'block'
  readonly firstSequence: number
  readonly recordCount: number
  /** Row of `boots`. */
  readonly boot: number
}

export interface GapRow {
  readonly kind: 'gap'
  readonly firstSequence: number
  readonly recordCount: number
  readonly reason: GapReason
  /** When the records were given up. */
  readonly wallMs: number
  /** Of a part of a gap those of the whole: its records lie within. */
  readonly times: GapTimes
}

export type LaneRow = BlockRow | GapRow

export type BlockHead = Omit<BlockRow, 'data' | 'crc32c'> & { readonly dataBytes: number }

/** A row without its bytes. */
export type RowHead = BlockHead | GapRow

export interface LaneCounters {
  nextSequence: number
  /** Records in blocks. */
  records: number
  /** Bytes that the rows take in the file. */
  bytes: number
}

const ENCODINGS: readonly Encoding[] = ['identity', 'zstd']

interface StoredRow {
  first_sequence: number
  record_count: number
  gap_reason: GapReason | null
  wall_ms: number
  boot: number
  monotonic_ms: number
  encoding: number
  body_bytes: number
  crc32c: number
  data: Buffer
  data_bytes: number
  gap_times: Buffer | null
}

const HEAD = `first_sequence, record_count, gap_reason, wall_ms, boot, monotonic_ms, encoding, body_bytes,
  coalesce(length(data), 0) AS data_bytes, CASE WHEN gap_reason IS NOT NULL THEN data END AS gap_times`

export class LaneTable {
  readonly lane: Lane
  counters: LaneCounters
  /** Where the next step of compaction begins. */
  compactFrom = 0
  /** No block lies before this sequence: lets eviction step over gaps once. */
  private blocksFrom = 0
  /** What is acknowledged of blocks that are not acknowledged in full; only a merged block is acknowledged in parts. */
  private partlyAcknowledged: readonly SequenceRange[] = []

  private readonly selectCounters: SqliteStatement<[string], { next_sequence: number; records: number; bytes: number }>
  private readonly updateCounters: SqliteStatement<[number, number, number, string]>
  private readonly insert: SqliteStatement
  private readonly remove: SqliteStatement<[number]>
  private readonly rowFrom: SqliteStatement<[number], StoredRow>
  private readonly headFrom: SqliteStatement<[number], StoredRow>
  private readonly headBefore: SqliteStatement<[number], StoredRow>
  private readonly blockHeadFrom: SqliteStatement<[number], StoredRow>
  private readonly firstBoot: SqliteStatement<[], number>

  constructor(database: SqliteDatabase, lane: Lane) {
    this.lane = lane
    this.selectCounters = database.prepare('SELECT next_sequence, records, bytes FROM lanes WHERE lane = ?')
    this.updateCounters = database.prepare('UPDATE lanes SET next_sequence = ?, records = ?, bytes = ? WHERE lane = ?')
    this.insert = database.prepare(
      `INSERT INTO ${lane} (first_sequence, record_count, gap_reason, wall_ms, boot, monotonic_ms, encoding, crc32c,
        body_bytes, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.remove = database.prepare(`DELETE FROM ${lane} WHERE first_sequence = ?`)
    const from = `FROM ${lane} WHERE first_sequence >= ?`
    this.rowFrom = database.prepare(`SELECT ${HEAD}, crc32c, data ${from} ORDER BY first_sequence LIMIT 1`)
    this.headFrom = database.prepare(`SELECT ${HEAD} ${from} ORDER BY first_sequence LIMIT 1`)
    this.headBefore = database.prepare(
      `SELECT ${HEAD} FROM ${lane} WHERE first_sequence < ? ORDER BY first_sequence DESC LIMIT 1`,
    )
    this.blockHeadFrom = database.prepare(
      `SELECT ${HEAD} ${from} AND gap_reason IS NULL ORDER BY first_sequence LIMIT 1`,
    )
    this.firstBoot = database
      .prepare<[], number>(`SELECT boot FROM ${lane} WHERE boot IS NOT NULL ORDER BY first_sequence LIMIT 1`)
      .pluck()
    this.counters = this.storedCounters()
  }

  /** The row that holds `sequence`, or the next one after it. */
  rowAt(sequence: number): LaneRow | null {
    const row = this.rowFrom.get(this.startOf(sequence))
    return row === undefined ? null : laneRow(row)
  }

  /** As rowAt, without the bytes. */
  headAt(sequence: number): RowHead | null {
    const row = this.headFrom.get(this.startOf(sequence))
    return row === undefined ? null : rowHead(row)
  }

  oldest(): RowHead | null {
    const row = this.headFrom.get(0)
    return row === undefined ? null : rowHead(row)
  }

  oldestBlock(): BlockHead | null {
    const row = this.blockHeadFrom.get(this.blocksFrom)
    this.blocksFrom = row?.first_sequence ?? this.counters.nextSequence
    return row === undefined ? null : (rowHead(row) as BlockHead)
  }

  /** The earliest boot of which there is a time; null when there is none. Boots ascend with the sequences. */
  oldestBoot(): number | null {
    return this.firstBoot.get() ?? null
  }

  /** Stores a block behind all others and gives it the next sequences. */
  append(block: Omit<BlockRow, 'firstSequence' | 'kind'>): BlockRow {
    const row: BlockRow = { ...block, kind: 'block', firstSequence: this.counters.nextSequence }
    this.put(row)
    this.counters.nextSequence += block.recordCount
    return row
  }

  put(row: LaneRow): void {
    if (row.kind === 'gap') {
      const { firstSequence, recordCount, reason, wallMs, times } = row
      const [boot, encoded] = [earliestBoot(times), encodeGapTimes(times)]
      this.insert.run(firstSequence, recordCount, reason, wallMs, boot, null, null, null, null, encoded)
      this.counters.bytes += rowBytes(0)
      return
    }
    const { firstSequence, recordCount, wallMs, boot, monotonicMs, crc32c, bodyBytes, data } = row
    const encoding = ENCODINGS.indexOf(row.encoding)
    this.insert.run(firstSequence, recordCount, null, wallMs, boot, monotonicMs, encoding, crc32c, bodyBytes, data)
    this.counters.records += recordCount
    this.counters.bytes += rowBytes(data.length)
  }

  /** Deletes a row; returns the bytes it took. */
  delete(row: RowHead | LaneRow): number {
    const bytes = rowBytes(row.kind === 'gap' ? 0 : 'data' in row ? row.data.length : row.dataBytes)
    this.remove.run(row.firstSequence)
    if (row.kind === 'block') this.counters.records -= row.recordCount
    this.counters.bytes -= bytes
    return bytes
  }

  /** Puts a gap in the place of deleted rows and joins it with neighbours of the same reason. */
  putGap(gap: GapRow): void {
    let { firstSequence, recordCount, wallMs, times } = gap
    const joins = (row: RowHead | null): row is GapRow => row?.kind === 'gap' && row.reason === gap.reason
    const before = this.before(firstSequence)
    if (joins(before) && before.firstSequence + before.recordCount === firstSequence) {
      this.delete(before)
      firstSequence = before.firstSequence
      recordCount += before.recordCount
      wallMs = Math.max(wallMs, before.wallMs)
      times = joinTimes(before.times, times)
    }
    const after = this.headAt(firstSequence + recordCount)
    if (joins(after) && after.firstSequence === firstSequence + recordCount) {
      this.delete(after)
      recordCount += after.recordCount
      wallMs = Math.max(wallMs, after.wallMs)
      times = joinTimes(times, after.times)
    }
    this.put({ ...gap, firstSequence, recordCount, wallMs, times })
  }

  /**
   * Deletes what is acknowledged in full, at most `rowsMax` rows. A gap is trimmed; a block that is acknowledged in part
   * stays whole until its other parts are acknowledged too. Returns what is left of the range when `rowsMax` was met.
   */
  acknowledge(range: SequenceRange, rowsMax: number): { rows: number; left: SequenceRange | null } {
    let next = range.first
    for (let rows = 0; ; rows++) {
      const row = next > range.last ? null : this.headAt(next)
      if (row === null || row.firstSequence > range.last) return { rows, left: null }
      if (rows >= rowsMax) return { rows, left: { first: next, last: range.last } }
      const held = { first: row.firstSequence, last: row.firstSequence + row.recordCount - 1 }
      const covered = { first: Math.max(held.first, range.first), last: Math.min(held.last, range.last) }
      if (row.kind === 'gap') this.trimGap(row, held, covered)
      else if (this.isAcknowledged(held, covered)) this.delete(row)
      next = held.last + 1
    }
  }

  /** Writes the counters down; the last step of a transaction. */
  saveCounters(): void {
    const { nextSequence, records, bytes } = this.counters
    this.updateCounters.run(nextSequence, records, bytes, this.lane)
  }

  /** Takes the counters from the disk again, after a transaction was rolled back. */
  reload(): void {
    this.counters = this.storedCounters()
    this.blocksFrom = 0
    this.partlyAcknowledged = []
  }

  private trimGap(gap: GapRow, held: SequenceRange, covered: SequenceRange): void {
    this.delete(gap)
    for (const rest of missingFrom([covered], held)) {
      this.put({ ...gap, firstSequence: rest.first, recordCount: rest.last - rest.first + 1 })
    }
  }

  private isAcknowledged(held: SequenceRange, covered: SequenceRange): boolean {
    if (covered.first === held.first && covered.last === held.last) return true
    const parts = addRange(this.partlyAcknowledged, covered)
    if (!containsRange(parts, held)) {
      // Forgetting is harmless: the block is sent again, and acknowledged as a whole.
      this.partlyAcknowledged = parts.slice(-PENDING_ACK_RANGES_MAX)
      return false
    }
    this.partlyAcknowledged = parts.flatMap((part) => missingFrom([held], part))
    return true
  }

  private before(sequence: number): RowHead | null {
    const row = this.headBefore.get(sequence)
    return row === undefined ? null : rowHead(row)
  }

  /** First sequence of the row that holds `sequence`, else `sequence` itself. */
  private startOf(sequence: number): number {
    const before = this.headBefore.get(sequence)
    if (before === undefined || before.first_sequence + before.record_count <= sequence) return sequence
    return before.first_sequence
  }

  private storedCounters(): LaneCounters {
    const row = this.selectCounters.get(this.lane)
    if (row === undefined) throw new Error(`the spool has no lane ${this.lane}`)
    return { nextSequence: row.next_sequence, records: row.records, bytes: row.bytes }
  }
}

function rowHead(row: StoredRow): RowHead {
  const place = { firstSequence: row.first_sequence, recordCount: row.record_count, wallMs: row.wall_ms }
  if (row.gap_reason !== null) {
    return { kind: 'gap', ...place, reason: row.gap_reason, times: decodeGapTimes(row.gap_times) }
  }
  return {
    kind: 'block',
    ...place,
    boot: row.boot,
    monotonicMs: row.monotonic_ms,
    encoding: ENCODINGS[row.encoding] ?? 'identity',
    bodyBytes: row.body_bytes,
    dataBytes: row.data_bytes,
  }
}

function laneRow(row: StoredRow): LaneRow {
  const head = rowHead(row)
  if (head.kind === 'gap') return head
  const { dataBytes: _, ...rest } = head
  return { ...rest, crc32c: row.crc32c, data: row.data }
}
