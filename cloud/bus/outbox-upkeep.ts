/** What a relay does beside publishing, from time to time: renews its leases, counts what waits, removes what was sent. */

import { type Clock, sleep, type Timer } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { OutboxCounts, OutboxStore } from './outbox-store.ts'

export interface OutboxUpkeepOptions {
  readonly store: OutboxStore
  readonly keptMs: number
  readonly leaseMs: number
  readonly failuresMax: number
  /** Ids of the rows that are being published now. */
  readonly leased: () => readonly number[]
  readonly onCounted: (counts: OutboxCounts) => void
  readonly clock: Clock
  readonly log: Logger
}

const COUNT_PERIOD_MS = 5_000
const PURGE_PERIOD_MS = 60_000
/** Rows removed in one step, and the pause in which others get the database. */
const PURGE_ROWS = 500
const PURGE_PAUSE_MS = 20

export class OutboxUpkeep {
  private readonly options: OutboxUpkeepOptions
  private readonly stopping = new AbortController()
  private readonly timers: Timer[] = []
  /** What runs now, by its name: none of it runs twice at a time, however slow the database is. */
  private readonly inHand = new Map<string, Promise<void>>()

  constructor(options: OutboxUpkeepOptions) {
    this.options = options
  }

  start(): void {
    const { clock, leaseMs, keptMs } = this.options
    const every = (name: string, periodMs: number, work: () => Promise<void>): void => {
      this.timers.push(clock.every(periodMs, () => this.run(name, work)))
    }
    every('renew', leaseMs / 3, () => this.renew())
    every('count', COUNT_PERIOD_MS, () => this.readCounts())
    if (keptMs > 0) every('purge', PURGE_PERIOD_MS, () => this.purge())
    this.count()
  }

  /** Counts anew, soon. */
  count(): void {
    this.run('count', () => this.readCounts())
  }

  /** Resolves when nothing of it runs any more. Call it last: leases are renewed until then. */
  async stop(): Promise<void> {
    this.stopping.abort()
    for (const timer of this.timers.splice(0)) timer.cancel()
    await Promise.all(this.inHand.values())
  }

  private run(name: string, work: () => Promise<void>): void {
    if (this.inHand.has(name)) return
    const done = work()
      .catch((error: unknown) => {
        // The relay itself meets the same database, and says so where it matters.
        this.options.log.debug({ work: name, error: messageOf(error) }, 'outbox upkeep failed; it is tried again')
      })
      .finally(() => this.inHand.delete(name))
    this.inHand.set(name, done)
  }

  private async renew(): Promise<void> {
    const { store, leased, clock, leaseMs, log } = this.options
    const ids = leased()
    if (ids.length === 0) return
    const renewed = await store.renew(ids, clock.wallMs() + leaseMs)
    // Not an error: one that was published meanwhile is not leased any more.
    if (renewed < ids.length) log.debug({ leased: ids.length, renewed }, 'outbox leases have ended')
  }

  private async readCounts(): Promise<void> {
    const { store, clock, failuresMax, onCounted } = this.options
    onCounted(await store.counts(clock.wallMs(), failuresMax))
  }

  private async purge(): Promise<void> {
    const { store, clock, keptMs } = this.options
    const beforeMs = clock.wallMs() - keptMs
    while (!this.stopping.signal.aborted && (await store.purge(beforeMs, PURGE_ROWS)) === PURGE_ROWS) {
      await sleep(clock, PURGE_PAUSE_MS, this.stopping.signal)
    }
  }
}
