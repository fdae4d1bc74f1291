/**
 * Makes changes durable, in order, on a thread of their own: changes gather while one group is being written. A disk that
 * refuses stops nobody: changes stay in memory and are tried again with backoff, and health says so. The thread starts with
 * the first change.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import type { FromJournalThread, ToJournalThread } from './journal-thread.ts'

const BACKOFF = { baseMs: 100, capMs: 10_000 }

export interface GroupJournalOptions<Change> {
  readonly path: string
  /** Changes that may wait; beyond it the journal gives up until the next start. */
  readonly changesMax: number
  /** Why nothing may be written in this run: what is on disk could not be read. */
  readonly unavailable?: string | undefined
  /** Starts the thread, whose entry module calls `serveJournal`. */
  readonly startThread: () => Worker
  /** What an operator reads when the disk refuses, when it works again, and when too much waits for it. */
  readonly texts: { readonly refused: string; readonly stored: string; readonly gaveUp: string }
  /** A change that writes and changes nothing: tells whether the disk works again when nothing else is left to try. */
  readonly probe?: Change
  /** Called when `failing` becomes null or stops being null. */
  readonly onFailing?: (failing: string | null) => void
  /** A damaged file was set aside under this name, and a new one begun; called before the group's own outcome. */
  readonly onReplaced?: (damagedFile: string) => void
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

interface Waiting<Result> {
  stored(result: Result): void
  /** Present when the change is tried once only. */
  refused?(why: string): void
}

interface Group<Change, Result> {
  readonly changes: Change[]
  /** Beside `changes`; null where nobody waits. */
  readonly waiting: (Waiting<Result> | null)[]
}

export class GroupJournal<Change, Result = void> {
  private readonly options: GroupJournalOptions<Change>
  private worker: Worker | null = null
  private pending: Group<Change, Result> = { changes: [], waiting: [] }
  private inFlight: Group<Change, Result> | null = null
  private pendingDone = Promise.withResolvers<void>()
  private inFlightDone = Promise.withResolvers<void>()
  private scheduled = false
  private retry: Timer | null = null
  private attempts = 0
  private closeAnswered: (() => void) | null = null
  private state: 'open' | 'given-up' | 'closed' = 'open'
  private reason: string | null = null

  constructor(options: GroupJournalOptions<Change>) {
    this.options = options
    if (options.unavailable === undefined) return
    this.state = 'given-up'
    this.reason = options.unavailable
  }

  /** Why changes cannot be stored at present; null when they can. */
  get failing(): string | null {
    return this.reason
  }

  /** Takes a change, which is tried until the disk has it. `stored` is called in a later turn, in the order of the changes. */
  append(change: Change, stored?: (result: Result) => void): void {
    this.add(change, stored === undefined ? null : { stored })
  }

  /**
   * Takes a change that is tried once, in order with the others.
   * @throws BusbarError JOURNAL_REFUSED, retryable, when it is not known to be on disk. It is not tried again; only when the
   *   process dies between a sync that failed and the next commit may it be found there.
   */
  attempt(change: Change): Promise<Result> {
    if (this.reason !== null || this.state !== 'open') {
      return Promise.reject(refusal(this.reason ?? 'the gateway is stopping'))
    }
    return new Promise((resolve, reject) => {
      this.add(change, { stored: resolve, refused: (why) => reject(refusal(why)) })
    })
  }

  /** Resolves when everything appended so far is on disk, or at once while the disk refuses. Never rejects. */
  durable(): Promise<void> {
    if (this.reason !== null || this.state !== 'open') return Promise.resolve()
    if (this.pending.changes.length > 0) return this.pendingDone.promise
    return this.inFlight === null ? Promise.resolve() : this.inFlightDone.promise
  }

  /** Writes what is left, if the disk lets it, and ends the thread. */
  async close(): Promise<void> {
    if (this.retry !== null && this.inFlight !== null) {
      this.retry.cancel()
      this.retry = null
      this.reason = null
      this.pending = joined(this.inFlight, this.pending)
      this.inFlight = null
      this.flush()
    }
    await this.durable()
    this.retry?.cancel()
    this.state = 'closed'
    const { worker } = this
    if (worker === null) return
    this.worker = null
    if (this.reason === null) {
      await new Promise<void>((resolve) => {
        this.closeAnswered = resolve
        worker.postMessage({ kind: 'close' } satisfies ToJournalThread<Change>)
      })
    }
    worker.terminate()
  }

  private add(change: Change, waiting: Waiting<Result> | null): void {
    if (this.state !== 'open') {
      waiting?.refused?.(this.reason ?? 'the gateway is stopping')
      return
    }
    if (this.pending.changes.length >= this.options.changesMax) {
      this.giveUp()
      return
    }
    this.pending.changes.push(change)
    this.pending.waiting.push(waiting)
    if (this.scheduled || this.inFlight !== null || this.retry !== null) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.state !== 'open' || this.inFlight !== null || this.pending.changes.length === 0) return
    this.inFlight = this.pending
    this.inFlightDone = this.pendingDone
    this.pending = { changes: [], waiting: [] }
    this.pendingDone = Promise.withResolvers()
    this.post(this.inFlight.changes)
  }

  private post(changes: Change[]): void {
    this.worker ??= this.startWorker()
    this.worker.postMessage({
      kind: 'apply',
      path: this.options.path,
      changes,
    } satisfies ToJournalThread<Change>)
  }

  private startWorker(): Worker {
    const worker = this.options.startThread()
    worker.onmessage = ({ data }: MessageEvent<FromJournalThread<Result>>) => this.answered(data)
    worker.onerror = (event) => {
      event.preventDefault()
      if (this.worker === worker) this.worker = null
      worker.terminate()
      this.answered({ error: `its thread failed: ${event.message}`, results: [], damagedFile: null })
    }
    return worker
  }

  private answered({ error, results, damagedFile }: FromJournalThread<Result>): void {
    this.closeAnswered?.()
    if (damagedFile !== null) this.options.onReplaced?.(damagedFile)
    const group = this.inFlight
    if (group === null) return
    if (error === null) this.stored(group, results)
    else this.refused(group, error)
  }

  private stored({ waiting }: Group<Change, Result>, results: readonly Result[]): void {
    const recovered = this.reason !== null && this.state !== 'given-up'
    if (recovered) this.reason = null
    this.attempts = 0
    this.inFlight = null
    this.inFlightDone.resolve()
    // The thread writes the next group while this one's are told.
    this.flush()
    for (const [index, each] of waiting.entries()) each?.stored(results[index] as Result)
    if (!recovered) return
    this.options.log.info(this.options.texts.stored)
    this.options.onFailing?.(null)
  }

  private refused(group: Group<Change, Result>, error: string): void {
    const { options } = this
    if (this.state === 'given-up') {
      for (const each of takeAttempts(group)) each.refused?.(error)
      return
    }
    const began = this.reason === null
    if (began) options.log.error({ path: options.path, error }, options.texts.refused)
    this.reason = error
    // Nobody waits for a disk that refuses; what was to be stored is tried again, in order.
    this.inFlightDone.resolve()
    this.pendingDone.resolve()
    this.pendingDone = Promise.withResolvers()
    const dropped = [...takeAttempts(group), ...takeAttempts(this.pending)]
    // An empty group would succeed on a disk that refuses all others.
    if (group.changes.length === 0) {
      this.inFlight = this.pending.changes.length > 0 ? this.pending : probing(options.probe)
      this.pending = { changes: [], waiting: [] }
    }
    this.retry = options.clock.after(fullJitterMs(this.attempts++, BACKOFF, options.random), () => {
      this.retry = null
      if (this.inFlight !== null && this.state === 'open') this.post(this.inFlight.changes)
    })
    for (const each of dropped) each.refused?.(error)
    if (began) options.onFailing?.(error)
  }

  private giveUp(): void {
    const { options } = this
    this.state = 'given-up'
    this.reason = options.texts.gaveUp
    this.retry?.cancel()
    const { waiting } = this.pending
    this.pending = { changes: [], waiting: [] }
    // Nobody waits for what is not going to be written.
    this.inFlightDone.resolve()
    this.pendingDone.resolve()
    for (const each of waiting) each?.refused?.(this.reason)
    options.log.error({ path: options.path, changesMax: options.changesMax }, this.reason)
    options.onFailing?.(this.reason)
  }
}

function probing<Change, Result>(probe: Change | undefined): Group<Change, Result> {
  return probe === undefined ? { changes: [], waiting: [] } : { changes: [probe], waiting: [null] }
}

function joined<Change, Result>(a: Group<Change, Result>, b: Group<Change, Result>): Group<Change, Result> {
  return { changes: [...a.changes, ...b.changes], waiting: [...a.waiting, ...b.waiting] }
}

/** Removes the changes that are tried once only; those who wait for them. */
function takeAttempts<Change, Result>({ changes, waiting }: Group<Change, Result>): Waiting<Result>[] {
  const attempts = waiting.filter((each) => each?.refused !== undefined) as Waiting<Result>[]
  if (attempts.length === 0) return attempts
  const kept = changes.map((change, index) => [change, waiting[index] ?? null] as const)
  changes.length = 0
  waiting.length = 0
  for (const [change, each] of kept) {
    if (each?.refused !== undefined) continue
    changes.push(change)
    waiting.push(each)
  }
  return attempts
}

function refusal(why: string): BusbarError {
  return new BusbarError(why, {
    code: 'JOURNAL_REFUSED',
    retryable: true,
    hint: 'Check that the disk is healthy and has free space.',
  })
}
