/**
 * Work that is done every so often, by one core for all of them. A lease in the database says which one; when that core
 * dies or loses the database another one goes on after `leaseMs`. Two may overlap for a moment where their clocks differ, so
 * the work itself must come to the same when it is done twice.
 */

import { sql } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { aborted } from '../../shared/waiting.ts'
import type { DatabaseHandle } from './database.ts'

export interface DutyOptions {
  /** Names the duty, for all cores alike. */
  readonly name: string
  readonly database: DatabaseHandle
  readonly coreId: string
  /** Time from the end of one round to the begin of the next, milliseconds. */
  readonly periodMs: number
  /** How long a core that died still counts as the one that does it, milliseconds. Default: three periods, 10,000 at least. */
  readonly leaseMs?: number
  /**
   * One round; to be cut short when `signal` aborts, because of a stop or since another core has the duty by now. What it
   * throws is logged, and the next round tries again.
   * @param heldMs how long this core has had the duty without a break, milliseconds: a core that stood still, or was without
   * the database, for longer than its lease begins anew.
   */
  readonly work: (signal: AbortSignal, heldMs: number) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

const LEASE_MIN_MS = 10_000
/** Renewals in one lease while a round takes long, so that a failed one costs nothing. */
const RENEWALS_A_LEASE = 3
/** A lease that ends later than this many leases from now was taken by a clock that has been set back since. */
const LEASES_AHEAD_MAX = 10

/** Since when this core has the duty, and when it last made sure. */
interface Held {
  readonly sinceMonotonicMs: number
  readonly renewedWallMs: number
}

export class Duty implements Part {
  readonly name: string
  private readonly options: DutyOptions
  private readonly leaseMs: number
  private readonly stopping = new AbortController()
  private timer: Timer | null = null
  private round: Promise<void> | null = null
  private renewing: Promise<void> | null = null
  private held: Held | null = null
  private readonly complaints: ComplaintLimit

  constructor(options: DutyOptions) {
    this.complaints = new ComplaintLimit(options.clock)
    this.options = options
    this.name = options.name
    this.leaseMs = options.leaseMs ?? Math.max(LEASE_MIN_MS, 3 * options.periodMs)
  }

  async start(): Promise<void> {
    if (this.timer === null) this.schedule(0)
  }

  /** Waits for the round in hand and lets another core go on; past the deadline the lease lapses by itself. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping.abort()
    this.timer?.cancel()
    await Promise.race([this.letGo(), aborted(deadline)])
  }

  private async letGo(): Promise<void> {
    await this.round
    await this.renewing
    if (this.held === null) return
    this.held = null
    const { database, name, coreId } = this.options
    const mine = database.kysely.deleteFrom('duties').where('name', '=', name).where('holder', '=', coreId)
    await mine.execute().catch(() => undefined)
  }

  private schedule(delayMs: number): void {
    if (this.stopping.signal.aborted) return
    this.timer = this.options.clock.after(delayMs, () => {
      this.round = this.go().finally(() => {
        this.round = null
        this.schedule(this.options.periodMs)
      })
    })
  }

  /** Never rejects. */
  private async go(): Promise<void> {
    const { log, name } = this.options
    try {
      const held = await this.hold()
      if (held !== null && !this.stopping.signal.aborted) await this.work(held)
    } catch (error) {
      if (this.stopping.signal.aborted || !this.complaints.isDue()) return
      log.warn({ duty: name, error: messageOf(error) }, 'a duty failed; trying again')
    }
  }

  /** One round, with the lease renewed for as long as it takes. */
  private async work({ sinceMonotonicMs }: Held): Promise<void> {
    const { clock, work } = this.options
    const lost = new AbortController()
    const renew = async (): Promise<void> => {
      // A database that is away gives the duty to nobody else.
      const held = await this.hold().catch(() => this.held)
      if (held === null) lost.abort()
    }
    const renewal = clock.every(this.leaseMs / RENEWALS_A_LEASE, () => {
      this.renewing ??= renew().finally(() => {
        this.renewing = null
      })
    })
    try {
      const signal = AbortSignal.any([this.stopping.signal, lost.signal])
      await work(signal, clock.monotonicMs() - sinceMonotonicMs)
    } finally {
      renewal.cancel()
    }
  }

  /** Takes or renews the lease; null when another core has it. */
  private async hold(): Promise<Held | null> {
    const { database, name, coreId, clock } = this.options
    const { leaseMs } = this
    const nowMs = Math.round(clock.wallMs())
    const { rows } = await sql`
      insert into duties (name, holder, until_ms) values (${name}, ${coreId}, ${nowMs + leaseMs})
      on conflict (name) do update set holder = excluded.holder, until_ms = excluded.until_ms
      where duties.holder = excluded.holder or duties.until_ms < ${nowMs}
        or duties.until_ms > ${nowMs + LEASES_AHEAD_MAX * leaseMs}
      returning name`.execute(database.kysely)
    const unbroken = this.held !== null && Math.abs(nowMs - this.held.renewedWallMs) <= leaseMs
    const sinceMonotonicMs = unbroken && this.held !== null ? this.held.sinceMonotonicMs : clock.monotonicMs()
    this.held = rows.length === 0 ? null : { sinceMonotonicMs, renewedWallMs: nowMs }
    return this.held
  }
}
