/** Walks along the entries of a day, in the order of their places, and says which are not as they were written. Pure. */

import type { ActivityRow } from './activity-rows.ts'
import { entryDigest, entryHash } from './chain.ts'
import type { Finding, FindingKind } from './verification-report.ts'

export class EntryWalk {
  private readonly key: Uint8Array
  private readonly day: string
  private readonly tell: (finding: Finding) => void
  /** What the hash of the next entry may be made of; nothing where that is gone. */
  private previous: readonly string[]
  private place = 0
  /** Whether the entry before is proved to be what was written. */
  private proved = true
  /** The last hash that was read. */
  head: string | null = null

  constructor(options: {
    readonly key: Uint8Array
    readonly day: string
    /** What the hash of the first may be made of. */
    readonly begins: readonly string[]
    readonly tell: (finding: Finding) => void
  }) {
    this.key = options.key
    this.day = options.day
    this.previous = options.begins
    this.tell = options.tell
  }

  next(row: ActivityRow): void {
    if (row.place <= this.place) {
      this.say('ENTRY_ADDED', row.place, row, 'a second entry is at this place, or before the first')
      return
    }
    if (row.place > this.place + 1) this.gap(row.place - 1)
    this.place = row.place
    const digest = entryDigest(row)
    const made = this.previous.map((previous) => entryHash(this.key, previous, this.day, row.place, digest))
    const isProved = made.includes(row.hash)
    if (!isProved && this.previous.length > 0) this.say('ENTRY_CHANGED', row.place, row, this.reason())
    // Of one that was changed either what is stored of it may be false, or its hash: the next one may follow either.
    this.previous = isProved ? [row.hash] : [row.hash, ...made]
    this.proved = isProved
    this.head = row.hash
  }

  /** @param entries that the day should have. */
  end(entries: number): void {
    if (this.place < entries) this.gap(entries)
  }

  private gap(last: number): void {
    const first = this.place + 1
    const many = first === last ? 'the entry of this place is gone' : 'the entries of these places are gone'
    const after = 'what follows directly cannot be proved'
    this.say('ENTRY_MISSING', first, null, `${many}; ${after}`, last)
    this.place = last
    this.previous = []
    this.proved = false
  }

  private reason(): string {
    return this.proved
      ? 'what is stored is not what was written here'
      : 'it does not follow the one before, which was changed or moved; or it was itself'
  }

  private say(kind: FindingKind, place: number, row: ActivityRow | null, message: string, last = place): void {
    this.tell({ kind, day: this.day, place, lastPlace: last, eventId: row?.event_id ?? null, message })
  }
}
