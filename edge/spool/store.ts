/**
 * The blocks on the disk: storing, reading, acknowledging, giving up, merging. Synchronous, so it runs on the spool's own
 * thread; what a method did is on the disk when it returns, and when it throws nothing has changed.
 */

import { statfsSync } from 'node:fs'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import type { Random } from '../../shared/random.ts'
import { sqliteCode } from '../../shared/sqlite.ts'
import type { Instant } from './boot-time.ts'
import { mergeBlocks, planCompaction } from './compaction.ts'
import { Connection } from './connection.ts'
import { encodeBody } from './encoding.ts'
import { type Room, roomFor } from './eviction.ts'
import { writeFailure } from './failures.ts'
import type { SpoolItem } from './item.ts'
import type { BlockRow, LaneRow } from './lane-table.ts'
import {
  ACK_ROWS_PER_COMMIT_MAX,
  DISK_LOW_BYTES,
  DISK_SLACK_BYTES,
  EVICTED_BLOCKS_PER_STEP_MAX,
  READ_ITEMS_MAX,
  SHRINK_FREE_BYTES_MIN,
  SHRINK_LIVE_BYTES_MAX,
} from './limits.ts'
import type { LaneRanges, NewBlock, ReadRequest, StoreOptions, StoreReport } from './messages.ts'
import { PAGE_BYTES, rowBytes } from './row-bytes.ts'
import { emptyTally, problemOf, type SpoolTables, type Tally } from './tables.ts'

export class Store {
  private readonly options: StoreOptions
  private readonly connection: Connection
  private readonly evicted = emptyTally()
  /** Size of the last commit that failed; 0 after one that did not. */
  private failedBytes = 0
  private diskFreeBytes = Number.POSITIVE_INFINITY

  constructor(options: StoreOptions, random: Random) {
    this.options = options
    this.connection = new Connection(options.dir, options.bootId, random)
  }

  open(now: Instant): void {
    this.connection.open(now)
    this.readDiskFree()
  }

  /** Stores the blocks and applies the acknowledgements in one transaction; returns those that have to wait. */
  commit(
    blocks: readonly NewBlock[],
    acks: LaneRanges,
    now: Instant,
  ): { readonly acksLeft: LaneRanges; readonly items: SpoolItem[] } {
    this.readDiskFree()
    const level = this.options.compressionLevel
    const encoded = blocks.map(({ body, ...block }) => ({ ...block, ...encodeBody(body, level) }))
    const newBytes = encoded.reduce((sum, block) => sum + rowBytes(block.data.length), 0)
    this.failedBytes = newBytes
    let acksLeft = acks
    let items: SpoolItem[] = []
    return this.connection.use(now, (tables) => {
      const write = (insist: boolean) =>
        tables.transaction(now, this.evicted, (tally) => {
          acksLeft = this.applyAcks(tables, acks)
          this.evictOverAge(tables, now, tally)
          this.makeRoom(tables, newBytes, insist, now, tally)
          items = encoded.map(({ lane, ...block }) =>
            tables.item(lane, tables.lanes[lane].append({ ...block, boot: tables.boots.present })),
          )
        })
      try {
        write(false)
      } catch (error) {
        if (sqliteCode(error) !== 'SQLITE_FULL') throw error
        this.connection.checkpoint(true)
        write(true)
      }
      this.failedBytes = 0
      this.connection.logged(Math.ceil(newBytes / PAGE_BYTES) + 4)
      return { acksLeft, items }
    })
  }

  /** Items after a sequence, ascending; a block that holds it and later ones comes whole. */
  readAfter({ lane, afterSequence, bytesMax, throughSequence }: ReadRequest, now: Instant): SpoolItem[] {
    return this.connection.use(now, (tables) => {
      const items: SpoolItem[] = []
      let bytes = 0
      let next = afterSequence + 1
      while (items.length < READ_ITEMS_MAX) {
        let row: LaneRow | null = tables.lanes[lane].rowAt(next)
        if (row === null || (throughSequence !== null && row.firstSequence > throughSequence)) break
        const size = row.kind === 'gap' ? 0 : row.data.length
        if (items.length > 0 && bytes + size > bytesMax) break
        const problem = row.kind === 'gap' ? null : problemOf(row)
        if (problem !== null) row = this.quarantine(tables, lane, row as BlockRow, problem, now)
        items.push(tables.item(lane, row))
        bytes += size
        next = row.firstSequence + row.recordCount
      }
      return items
    })
  }

  /**
   * Housekeeping, a bounded step of it; true when compaction has more to do.
   * @param options.probe storing failed: throws when it would fail again.
   */
  tend({ compact, probe }: { compact: boolean; probe: boolean }, now: Instant): boolean {
    this.readDiskFree()
    return this.connection.use(now, (tables) => {
      const room = this.roomFor(tables, probe ? this.failedBytes : 0)
      if (room.kind === 'none') throw writeFailure(room.why)
      const news = tables.boots.observe(now)
      const overAge = LANES.some((lane) => tables.isOverAge(lane, this.options.ageMaxMs, now))
      if (news || overAge || probe) {
        tables.transaction(now, this.evicted, (tally) => this.evictOverAge(tables, now, tally))
      }
      this.shrink(tables)
      return compact && LANES.some((lane) => this.compactStep(tables, lane, now))
    })
  }

  /** To be called after the reply to a commit: its records are safe, and nobody waits for the copying. */
  checkpointIfDue(): void {
    const isLow = this.diskFreeBytes < this.options.diskFreeBytesMin + DISK_LOW_BYTES
    this.connection.checkpoint(isLow)
  }

  report(bytesWritten: number): StoreReport | null {
    const { tables, damagedFile } = this.connection
    if (tables === null) return null
    return {
      epoch: tables.epoch,
      lanes: { priority: tables.report('priority'), telemetry: tables.report('telemetry') },
      evicted: { ...this.evicted },
      quarantinedBlocks: tables.quarantine.size,
      damagedFile,
      diskFreeBytes: this.diskFreeBytes,
      bytesWritten,
    }
  }

  close(): void {
    this.connection.close()
  }

  private applyAcks(tables: SpoolTables, acks: LaneRanges): LaneRanges {
    const left: Record<Lane, SequenceRange[]> = { priority: [], telemetry: [] }
    let rowsLeft = ACK_ROWS_PER_COMMIT_MAX
    for (const lane of LANES) {
      for (const range of acks[lane]) {
        const { rows, left: rest } = tables.lanes[lane].acknowledge(range, rowsLeft)
        rowsLeft -= rows
        if (rest !== null) left[lane].push(rest)
      }
    }
    this.connection.logged(Math.ceil((ACK_ROWS_PER_COMMIT_MAX - rowsLeft) / 2))
    return left
  }

  private evictOverAge(tables: SpoolTables, now: Instant, tally: Tally): void {
    for (const lane of ['telemetry', 'priority'] as const) {
      for (let blocks = 0; blocks < EVICTED_BLOCKS_PER_STEP_MAX; blocks++) {
        if (!tables.isOverAge(lane, this.options.ageMaxMs, now)) break
        tables.evictOldest(lane, 'age', now, tally)
      }
    }
  }

  /** @param insist the disk was full: give up twice what is needed, whatever the limits say. */
  private makeRoom(tables: SpoolTables, newBytes: number, insist: boolean, now: Instant, tally: Tally): void {
    const room: Room =
      insist && newBytes > 0
        ? { kind: 'evict', bytes: 2 * newBytes + DISK_SLACK_BYTES, reason: 'disk' }
        : this.roomFor(tables, newBytes)
    if (room.kind === 'enough') return
    if (room.kind === 'none') throw writeFailure(room.why)
    let freed = 0
    for (const lane of ['telemetry', 'priority'] as const) {
      while (freed < room.bytes) {
        const bytes = tables.evictOldest(lane, room.reason, now, tally)
        if (bytes === 0) break
        freed += bytes
      }
    }
  }

  private roomFor(tables: SpoolTables, newBytes: number): Room {
    if (newBytes === 0) return { kind: 'enough' }
    const usage = { ...tables.usage(), diskFreeBytes: this.diskFreeBytes }
    return roomFor(newBytes, usage, this.options)
  }

  private quarantine(tables: SpoolTables, lane: Lane, block: BlockRow, problem: string, now: Instant): LaneRow {
    let gap: LaneRow = block
    tables.transaction(now, this.evicted, (tally) => {
      gap = tables.quarantineBlock(lane, block, problem, now, tally)
    })
    return gap
  }

  /** Merges one run of small blocks; true when there may be another. */
  private compactStep(tables: SpoolTables, lane: Lane, now: Instant): boolean {
    const table = tables.lanes[lane]
    const present = { boot: tables.boots.present, now }
    const plan = planCompaction((sequence) => table.headAt(sequence), table.compactFrom, present)
    table.compactFrom = plan.resumeAt
    if (plan.run.length === 0) return plan.more
    const rows = plan.run.map((head) => table.rowAt(head.firstSequence) as BlockRow)
    for (const row of rows) {
      const problem = problemOf(row)
      if (problem === null) continue
      this.quarantine(tables, lane, row, problem, now)
      return true
    }
    const merged = mergeBlocks(rows, this.options.compressionLevel)
    tables.transaction(now, this.evicted, () => {
      for (const row of rows) table.delete(row)
      table.put(merged)
    })
    this.connection.logged(rows.length + Math.ceil(merged.data.length / PAGE_BYTES))
    return true
  }

  /** After a long outage the file is large and empty: gives the space back while there is little to copy. */
  private shrink(tables: SpoolTables): void {
    const { liveBytes, freeBytes } = tables.usage()
    if (freeBytes < SHRINK_FREE_BYTES_MIN || liveBytes > SHRINK_LIVE_BYTES_MAX) return
    this.connection.shrink(tables)
  }

  private readDiskFree(): void {
    try {
      const { bavail, bsize } = statfsSync(this.options.dir)
      this.diskFreeBytes = bavail * bsize
    } catch {
      // What is not known limits nothing; a disk that is full says so when it is written to.
      this.diskFreeBytes = Number.POSITIVE_INFINITY
    }
  }
}
