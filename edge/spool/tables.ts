/** The tables of an open spool together, and the transactions over them. */

import { assert } from '../../shared/errors.ts'
import { LANES, type Lane } from '../../shared/lanes.ts'
import type { SqliteDatabase, SqliteStatement } from '../../shared/sqlite.ts'
import { BootTable } from './boot-table.ts'
import { ageMs, correctedWallMs, type Instant } from './boot-time.ts'
import { decodeRecords } from './encoding.ts'
import type { SpaceUsage } from './eviction.ts'
import type { BootInstant, GapTimes } from './gap-times.ts'
import type { GapReason, SpoolItem } from './item.ts'
import { type BlockHead, type BlockRow, type GapRow, type LaneRow, LaneTable, type RowHead } from './lane-table.ts'
import { LATE_END_MS } from './limits.ts'
import type { LaneReport } from './messages.ts'
import { Quarantine } from './quarantine.ts'
import { PAGE_BYTES } from './row-bytes.ts'

/** Counts records given up; what a rolled back transaction counted does not count. */
export type Tally = Record<GapReason, number>

export function emptyTally(): Tally {
  return { bytes: 0, age: 0, disk: 0, corrupt: 0 }
}

export class SpoolTables {
  readonly database: SqliteDatabase
  readonly epoch: string
  readonly lanes: Readonly<Record<Lane, LaneTable>>
  readonly boots: BootTable
  readonly quarantine: Quarantine
  private readonly pages: SqliteStatement<[], { total: number; free: number }>
  private readonly inTransaction: (body: () => void) => void

  constructor(database: SqliteDatabase, bootId: string, now: Instant) {
    this.database = database
    const epoch = database.prepare<[], string>("SELECT value FROM spool_meta WHERE key = 'epoch'").pluck().get()
    assert(epoch !== undefined, 'a spool has an epoch')
    this.epoch = epoch
    this.lanes = { priority: new LaneTable(database, 'priority'), telemetry: new LaneTable(database, 'telemetry') }
    this.boots = new BootTable(database, bootId, now)
    this.quarantine = new Quarantine(database)
    this.pages = database.prepare(
      'SELECT (SELECT page_count FROM pragma_page_count) AS total, (SELECT freelist_count FROM pragma_freelist_count) AS free',
    )
    this.inTransaction = database.transaction((body: () => void) => body()).immediate
  }

  /**
   * Runs `body` as one transaction that is synced when this returns; its tally is added to `total` only then. When it
   * throws, nothing has changed, on the disk or in the counters.
   */
  transaction(now: Instant, total: Tally, body: (tally: Tally) => void): void {
    const tally = emptyTally()
    try {
      this.inTransaction(() => {
        this.boots.save(now)
        body(tally)
        for (const lane of LANES) this.lanes[lane].saveCounters()
      })
    } catch (error) {
      this.restoreCounters()
      throw error
    }
    for (const reason of Object.keys(tally) as GapReason[]) total[reason] += tally[reason]
  }

  usage(): Omit<SpaceUsage, 'diskFreeBytes'> {
    const { total, free } = this.pages.get() ?? { total: 0, free: 0 }
    const evictableBytes = LANES.reduce((sum, lane) => sum + this.lanes[lane].counters.bytes, 0)
    return { liveBytes: (total - free) * PAGE_BYTES, freeBytes: free * PAGE_BYTES, evictableBytes }
  }

  /** Gives up the oldest block of a lane; returns the bytes freed, 0 when there is none. */
  evictOldest(lane: Lane, reason: GapReason, now: Instant, tally: Tally): number {
    const block = this.lanes[lane].oldestBlock()
    if (block === null) return 0
    const gap = this.gapFor(lane, block, reason, now)
    const freed = this.lanes[lane].delete(block)
    this.lanes[lane].putGap(gap)
    tally[reason] += block.recordCount
    return freed
  }

  /** True when the oldest block of the lane is older than `ageMaxMs`. */
  isOverAge(lane: Lane, ageMaxMs: number, now: Instant): boolean {
    const head = this.lanes[lane].oldestBlock()
    if (head?.kind !== 'block') return false
    const at = { wallMs: head.wallMs, monotonicMs: head.monotonicMs, sameBoot: head.boot === this.boots.present }
    return ageMs(at, this.boots.learnedOffsetMs(head.boot), now, this.boots.clock.isSettled(now)) > ageMaxMs
  }

  /** Keeps the damaged block aside and puts a gap in its place; returns the gap. */
  quarantineBlock(lane: Lane, block: BlockRow, problem: string, now: Instant, tally: Tally): GapRow {
    const table = this.lanes[lane]
    const gap = this.gapFor(lane, block, 'corrupt', now)
    this.quarantine.add(lane, block, problem, now.wallMs)
    table.delete(block)
    table.putGap(gap)
    tally.corrupt += block.recordCount
    return gap
  }

  /** The row as it is sent, its time corrected. */
  item(lane: Lane, row: LaneRow): SpoolItem {
    if (row.kind === 'gap') {
      const { times, ...gap } = row
      return { ...gap, lane, firstWallMs: this.correctedMs(times.first), lastWallMs: this.correctedMs(times.last) }
    }
    const { boot, ...block } = row
    return { ...block, lane, wallMs: this.trueWallMs(row), bootId: this.boots.bootId(boot) }
  }

  report(lane: Lane): LaneReport {
    const { records, bytes, nextSequence } = this.lanes[lane].counters
    const oldest = this.lanes[lane].oldest()
    return {
      records,
      bytes,
      nextSequence,
      oldestSequence: oldest?.firstSequence ?? nextSequence,
      oldestWallMs: oldest === null ? null : this.trueWallMs(oldest),
    }
  }

  /** Forgets boots that no row needs; one transaction, only when there are such. */
  pruneBoots(now: Instant): void {
    const needed = LANES.map((lane) => this.lanes[lane].oldestBoot() ?? this.boots.present)
    this.transaction(now, emptyTally(), () => this.boots.prune(Math.min(...needed)))
  }

  private trueWallMs(row: RowHead | LaneRow): number {
    return row.kind === 'gap' ? row.wallMs : correctedWallMs(row, this.boots.learnedOffsetMs(row.boot))
  }

  private correctedMs(at: BootInstant | null): number | null {
    return at === null ? null : correctedWallMs(at, this.boots.learnedOffsetMs(at.boot))
  }

  private gapFor(lane: Lane, block: BlockHead | BlockRow, reason: GapReason, now: Instant): GapRow {
    const { firstSequence, recordCount } = block
    const times: GapTimes = { first: beginOf(block), last: this.endOf(lane, block, now) }
    return { kind: 'gap', firstSequence, recordCount, reason, wallMs: now.wallMs, times }
  }

  /** When the last record of a block was received, or a little later; much later only when the block is corrupt. */
  private endOf(lane: Lane, block: BlockHead | BlockRow, now: Instant): BootInstant {
    const begin = beginOf(block)
    const table = this.lanes[lane]
    const next = table.headAt(block.firstSequence + block.recordCount)
    const nextBegin = next?.kind === 'gap' ? next.times.first : next && beginOf(next)
    const isClose = nextBegin?.boot === begin.boot && nextBegin.monotonicMs - begin.monotonicMs <= LATE_END_MS
    if (isClose) return nextBegin
    const row = 'data' in block ? block : table.rowAt(block.firstSequence)
    const lastDelayMs = row?.kind === 'block' ? lastDelayMsOf(row) : null
    if (lastDelayMs === null) return nextBegin ?? { ...now, boot: this.boots.present }
    return { ...begin, wallMs: begin.wallMs + lastDelayMs, monotonicMs: begin.monotonicMs + lastDelayMs }
  }

  private restoreCounters(): void {
    this.boots.forgetSaved()
    for (const lane of LANES) this.lanes[lane].reload()
  }
}

/** What is wrong with a block, or null; everything about it is checked, so that no reader after us stumbles. */
export function problemOf(block: BlockRow): string | null {
  try {
    decodeRecords(block)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function beginOf({ boot, wallMs, monotonicMs }: BlockHead | BlockRow): BootInstant {
  return { boot, wallMs, monotonicMs }
}

/** Null when the block is corrupt. */
function lastDelayMsOf(block: BlockRow): number | null {
  try {
    return decodeRecords(block).at(-1)?.delayMs ?? null
  } catch {
    return null
  }
}
