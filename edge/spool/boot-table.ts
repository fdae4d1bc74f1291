/** The boots whose blocks are in the spool, each with what it last knew of the time. */

import type { SqliteDatabase, SqliteStatement } from '../../shared/sqlite.ts'
import { BootClock, type Instant, isStep } from './boot-time.ts'

export class BootTable {
  /** Row of the present boot. */
  readonly present: number
  readonly clock: BootClock
  private readonly known = new Map<number, { readonly bootId: string; offsetMs: number }>()
  /** What is on the disk for the present boot; null when nothing is, or it is not known. */
  private savedOffsetMs: number | null = null
  private readonly write: SqliteStatement<[number, string, number]>
  private readonly removeBefore: SqliteStatement<[number, number]>

  constructor(database: SqliteDatabase, bootId: string, now: Instant) {
    this.clock = new BootClock(now)
    this.write = database.prepare('INSERT OR REPLACE INTO boots (id, boot_id, wall_offset_ms) VALUES (?, ?, ?)')
    this.removeBefore = database.prepare('DELETE FROM boots WHERE id < ? AND id <> ?')
    const rows = database.prepare('SELECT id, boot_id, wall_offset_ms FROM boots ORDER BY id').all() as {
      id: number
      boot_id: string
      wall_offset_ms: number
    }[]
    for (const row of rows) this.known.set(row.id, { bootId: row.boot_id, offsetMs: row.wall_offset_ms })
    const newest = rows.at(-1)
    // Rows ascend with time; a boot that comes back after another one, as in a test, is a new row.
    const isSame = newest?.boot_id === bootId
    this.present = isSame ? newest.id : (newest?.id ?? 0) + 1
    if (isSame) this.savedOffsetMs = newest.wall_offset_ms
    this.known.set(this.present, { bootId, offsetMs: this.clock.offsetMs })
  }

  /** Takes notice of the time; true when `save` has something to write. */
  observe(now: Instant): boolean {
    const known = this.known.get(this.present)
    if (this.clock.observe(now) && known !== undefined) known.offsetMs = this.clock.offsetMs
    return this.savedOffsetMs === null || isStep(this.savedOffsetMs, this.clock.offsetMs)
  }

  /** Writes down what the present boot knows of the time, when it is news. Within a transaction. */
  save(now: Instant): void {
    if (!this.observe(now)) return
    this.write.run(this.present, this.bootId(this.present), this.clock.offsetMs)
    this.savedOffsetMs = this.clock.offsetMs
  }

  /** To be called when a transaction with `save` in it was rolled back. */
  forgetSaved(): void {
    this.savedOffsetMs = null
  }

  bootId(boot: number): string {
    return this.known.get(boot)?.bootId ?? ''
  }

  /** Wall clock minus monotonic clock, as that boot last knew it; null for a boot that is not known. */
  learnedOffsetMs(boot: number): number | null {
    return this.known.get(boot)?.offsetMs ?? null
  }

  /** Forgets the boots before `oldest`, the row of the oldest block in the spool. Within a transaction. */
  prune(oldest: number): void {
    this.removeBefore.run(oldest, this.present)
    for (const boot of this.known.keys()) if (boot < oldest && boot !== this.present) this.known.delete(boot)
  }
}
