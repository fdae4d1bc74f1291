/**
 * Finds out what changed of one resource by asking its service every few tenths of a second, while somebody is subscribed.
 *
 * Changes are asked for by the time at which they were stored. That time is of the core that stored them, whose clock may be
 * behind ours, and a transaction becomes visible some moments after it. So every look reaches back, and what was seen
 * before and is the same is dropped: by the text of it, since two changes may have one time.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Change, ChangeFeed } from './change-feed.ts'
import type { Filter } from './filter.ts'
import type { Viewer } from './visibility.ts'

/** A change that was not seen before, with its body as JSON text. */
export interface SeenChange extends Change {
  readonly text: string
}

/** A subscription that waits for its turn. */
export interface Joining {
  /** False when it has gone meanwhile. */
  isWanted(): boolean
  admit(present: readonly SeenChange[]): void
}

export interface ChangePollerOptions {
  readonly feed: ChangeFeed
  /** Must not reject. */
  readonly onChanges: (changes: readonly SeenChange[]) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

const POLL_MS = 300
/** How far an ordinary look reaches back behind the one before: a transaction takes less. */
const REACH_MS = 1_000
/** How far every tenth look reaches back: the clocks of cores differ by less. */
const FAR_REACH_MS = 10_000
const LOOKS_BETWEEN_FAR = 10
const PAGE = 500
/** Changes remembered to know repeats by; beyond it the oldest are forgotten, and may be sent again. */
const SEEN_MAX = 10_000

export class ChangePoller {
  private readonly options: ChangePollerOptions
  private polling: Timer | null = null
  /** Looks and joins follow one another, never side by side. */
  private turn: Promise<void> = Promise.resolve()
  private busy = false
  private stopped = false
  private looks = 0
  /** Our wall clock at the last look. */
  private lookedAtMs = 0
  private isPrimed = false
  /** How often it was put to rest: a look that was under way then says nothing of the time after it. */
  private rests = 0
  private isFailing = false
  /** Texts by id, the one seen last at the end. */
  private readonly seen = new Map<string, string>()

  constructor(options: ChangePollerOptions) {
    this.options = options
  }

  get running(): boolean {
    return this.polling !== null
  }

  /**
   * Calls `admit` with the present state of what `filter` names and `viewer` may see, at a moment at which no change is being
   * handed out: what changes from then on comes after it. Rejects when the service cannot answer.
   */
  async join(filter: Filter, limit: number, viewer: Viewer, { isWanted, admit }: Joining): Promise<void> {
    if (this.stopped) throw new Error('the server is stopping')
    this.polling ??= this.options.clock.every(POLL_MS, () => this.beginLook())
    await this.inTurn(async () => {
      // Who subscribes and leaves on and on would have everybody wait for what nobody wants.
      if (!isWanted()) return
      // Whoever is the first to come is not told what changed before.
      if (!this.isPrimed) await this.look(async () => undefined)
      admit((await this.options.feed.present(filter, limit, viewer)).map(withText))
    })
  }

  /** Nobody is subscribed any more. */
  rest(): void {
    this.polling?.cancel()
    this.polling = null
    this.isPrimed = false
    this.rests++
    this.seen.clear()
  }

  /** Resolves when no look is under way any more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.rest()
    await this.turn.catch(() => undefined)
  }

  private beginLook(): void {
    if (this.busy) return
    this.busy = true
    const looked = this.inTurn(async () => {
      if (this.polling !== null) await this.look(this.options.onChanges)
    })
    void looked.then(
      () => this.worked(),
      (error: unknown) => this.failed(error),
    )
  }

  private async look(onChanges: ChangePollerOptions['onChanges']): Promise<void> {
    const { rests } = this
    const nowMs = this.options.clock.wallMs()
    const isFar = !this.isPrimed || this.looks % LOOKS_BETWEEN_FAR === 0
    const beforeMs = this.isPrimed ? Math.min(nowMs, this.lookedAtMs) : nowMs
    let sinceMs = beforeMs - (isFar ? FAR_REACH_MS : REACH_MS)
    let afterId = ''
    for (;;) {
      const page = await this.options.feed.changedSince(sinceMs, PAGE, afterId)
      const news = page.map(withText).filter((change) => this.isNew(change))
      if (news.length > 0) await onChanges(news)
      this.forget()
      const last = page.at(-1)
      if (page.length < PAGE || last === undefined) break
      sinceMs = last.changedAtMs
      afterId = last.id
    }
    if (rests !== this.rests) return
    // Only now: after a failure the next look reaches back as far as this one.
    this.lookedAtMs = nowMs
    this.looks++
    this.isPrimed = true
  }

  private isNew({ id, text }: SeenChange): boolean {
    if (this.seen.get(id) === text) return false
    this.seen.delete(id)
    this.seen.set(id, text)
    return true
  }

  private forget(): void {
    for (const id of this.seen.keys()) {
      if (this.seen.size <= SEEN_MAX) return
      this.seen.delete(id)
    }
  }

  private worked(): void {
    this.busy = false
    if (this.isFailing) this.options.log.info('live channels of resources go on')
    this.isFailing = false
  }

  private failed(error: unknown): void {
    this.busy = false
    if (!this.isFailing) {
      this.options.log.warn({ error: messageOf(error) }, 'changes cannot be looked for; live channels stand still')
    }
    this.isFailing = true
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    // One that failed has told its own caller.
    this.turn = this.turn.catch(() => undefined).then(work)
    return this.turn
  }
}

function withText(change: Change): SeenChange {
  return { ...change, text: JSON.stringify(change.body) }
}
