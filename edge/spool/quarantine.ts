/** Blocks that were damaged on the disk, kept as they are for a post-mortem. */

import type { Lane } from '../../shared/lanes.ts'
import type { SqliteDatabase, SqliteStatement } from '../../shared/sqlite.ts'
import type { BlockRow } from './lane-table.ts'
import { QUARANTINE_BLOCKS_MAX } from './limits.ts'

export class Quarantine {
  private blocks: number
  private readonly countRows: SqliteStatement<[], number>
  private readonly insert: SqliteStatement
  private readonly dropOldest: SqliteStatement<[number]>

  constructor(database: SqliteDatabase) {
    this.countRows = database.prepare<[], number>('SELECT count(*) FROM quarantine').pluck()
    this.insert = database.prepare(
      `INSERT INTO quarantine (lane, first_sequence, record_count, quarantined_wall_ms, problem, encoding, crc32c,
        body_bytes, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.dropOldest = database.prepare(
      'DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY id LIMIT max(0, ?))',
    )
    this.blocks = this.countRows.get() ?? 0
  }

  /** Blocks kept; at most QUARANTINE_BLOCKS_MAX. */
  get size(): number {
    return this.blocks
  }

  add(lane: Lane, block: BlockRow, problem: string, wallMs: number): void {
    const { firstSequence, recordCount, encoding, crc32c, bodyBytes, data } = block
    const coding = encoding === 'zstd' ? 1 : 0
    this.insert.run(lane, firstSequence, recordCount, wallMs, problem, coding, crc32c, bodyBytes, data)
    this.dropOldest.run(this.blocks + 1 - QUARANTINE_BLOCKS_MAX)
    this.blocks = this.countRows.get() ?? 0
  }
}
