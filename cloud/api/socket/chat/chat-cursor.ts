/**
 * What a socket was sent of one conversation, and so what it is to be sent next. Pure.
 *
 * Changes of a conversation are numbered without a gap. What a socket was sent is always one stretch of them, from `low` to
 * `mark`: what is in it is never sent again, and what is missing above or below is read from the database, in the order of
 * the numbers, while changes that come over the bus wait. So the highest number that a client has seen is where it goes on after
 * its connection was lost, wherever that was.
 */

export interface Change {
  readonly revision: number
}

/** What is to be read: changes after one revision, and up to another one or to the end. */
export interface Reading {
  /** Of what is after it nothing has come yet. */
  readonly from: number
  /** What is up to it was read. */
  readonly after: number
  readonly upTo: number | null
}

/** Changes that wait while the database is read; of more the first are let go, since it has those by then. */
const WAITING_MAX = 64

export class ChatCursor<C extends Change> {
  private low: number
  private high: number
  /** The last change there is, as far as is known. */
  private seen: number
  private waiting: C[] = []
  private reading: Reading | null = null
  /** `high` when what is above it began to be read. */
  private began = 0
  /** Of a stretch below `low`: where it begins. */
  private lowest: number | null = null
  /** A resume that came while something was being read. */
  private resumeFrom: number | null = null

  /** @param mark everything up to it counts as sent, since the client begins after it. */
  constructor(mark: number) {
    this.low = mark
    this.high = mark
    this.seen = mark
  }

  /** Everything up to it was sent, from `bottom` on. */
  get mark(): number {
    return this.high
  }

  get bottom(): number {
    return this.low
  }

  /** What is to be read of the database before anything else is sent; null when nothing is. The same object until that changes. */
  get wants(): Reading | null {
    return this.reading
  }

  /** A change has come over the bus. True when it is to be sent now; otherwise it came before, or waits for what is to be read. */
  take(change: C): boolean {
    const { revision } = change
    if (revision <= this.high) return false
    if (this.reading === null && revision === this.high + 1) {
      this.high = revision
      this.seen = Math.max(this.seen, revision)
      return true
    }
    this.wait(change)
    this.behind(revision)
    return false
  }

  /** The database has changes up to `revision`. */
  behind(revision: number): void {
    this.seen = Math.max(this.seen, revision)
    if (this.seen > this.high && this.reading === null) this.readAbove()
  }

  /** The client has everything up to `revision`, and no more: it wants what is between that and where it began. */
  resume(revision: number): void {
    if (revision >= this.low) return
    if (this.reading === null) this.readBelow(revision)
    else this.resumeFrom = Math.min(this.resumeFrom ?? revision, revision)
  }

  /** What `take` or `finish` gave to be sent was not sent, from `revision` on. */
  unsent(revision: number): void {
    if (revision > this.high) return
    this.seen = Math.max(this.seen, this.high)
    this.high = revision - 1
    if (this.reading === null || this.reading.upTo === null) this.readAbove()
  }

  /** The next page of what `wants` asked for was sent up to `revision`. */
  sent(revision: number): void {
    const { reading } = this
    if (reading === null) return
    this.reading = { ...reading, after: Math.max(reading.after, revision) }
    if (reading.upTo === null) this.high = Math.max(this.high, revision)
  }

  /**
   * All that `wants` asked for was sent.
   * @param upTo the last change that the database has.
   * @returns what has waited, to be sent now.
   */
  finish(upTo: number): C[] {
    const { reading } = this
    if (reading === null) return []
    this.reading = null
    if (reading.upTo === null) {
      this.high = Math.max(this.high, upTo)
      // What the database does not know is none of its changes, whoever said so.
      if (this.high === this.began) this.seen = this.high
    } else {
      this.low = this.lowest ?? this.low
      this.lowest = null
    }
    if (this.resumeFrom !== null) {
      const from = this.resumeFrom
      this.resumeFrom = null
      this.resume(from)
      if (this.reading !== null) return []
    }
    const ready = this.ready()
    this.behind(this.seen)
    if (this.reading === null) this.waiting = []
    return ready
  }

  private readAbove(): void {
    this.began = this.high
    this.reading = { from: this.high, after: this.high, upTo: null }
  }

  private readBelow(revision: number): void {
    this.lowest = revision
    this.reading = { from: revision, after: revision, upTo: this.low }
  }

  private wait(change: C): void {
    const at = this.waiting.findLastIndex(({ revision }) => revision <= change.revision)
    if (this.waiting[at]?.revision === change.revision) return
    this.waiting.splice(at + 1, 0, change)
    if (this.waiting.length > WAITING_MAX) this.waiting.shift()
  }

  /** Those that follow what was sent without a gap. */
  private ready(): C[] {
    const ready: C[] = []
    let next = 0
    for (; next < this.waiting.length; next++) {
      const change = this.waiting[next] as C
      if (change.revision <= this.high) continue
      if (change.revision > this.high + 1) break
      this.high = change.revision
      ready.push(change)
    }
    this.waiting = this.waiting.slice(next)
    return ready
  }
}
