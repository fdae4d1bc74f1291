/**
 * Work that is done every so often, by one core for all of them. A lease in the database says which one; when that core
 * dies or loses the database another one goes on after `leaseMs`. Two may overlap for a moment where their clocks differ, so
 * the work itself must come to the same when it is done twice.
 */

import { sql } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
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
  /** One round; may be cut short when `signal` aborts. What it throws is logged, and the next round tries again. */
  readonly work: (signal: AbortSignal) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

const LEASE_MIN_MS = 10_000
/** Failures that follow one another are logged once in this long, milliseconds. */
const COMPLAINT_PERIOD_MS = 60_000

export class Duty implements Part {
  readonly name: string
  private readonly options: DutyOptions
  private readonly leaseMs: number
  private readonly stopping = new AbortController()
  private timer: Timer | null = null
  private round: Promise<void> | null = null
  private holds = false
  private complainedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: DutyOptions) {
    this.options = options
    this.name = options.name
    this.leaseMs = options.leaseMs ?? Math.max(LEASE_MIN_MS, 3 * options.periodMs)
  }

  async start(): Promise<void> {
    if (this.timer === null) this.schedule(0)
  }

  /** Waits for the round in hand and lets another core go on. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.timer?.cancel()
    await this.round
    if (!this.holds) return
    this.holds = false
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
    const { clock, log, name, work } = this.options
    try {
      this.holds = await this.hold()
      if (this.holds) await work(this.stopping.signal)
    } catch (error) {
      const nowMs = clock.monotonicMs()
      if (this.stopping.signal.aborted || nowMs - this.complainedAtMs < COMPLAINT_PERIOD_MS) return
      this.complainedAtMs = nowMs
      log.warn({ duty: name, error: messageOf(error) }, 'a duty failed; trying again')
    }
  }

  /** True when the lease is ours from now on. */
  private async hold(): Promise<boolean> {
    const { database, name, coreId, clock } = this.options
    const nowMs = clock.wallMs()
    const { rows } = await sql`
      insert into duties (name, holder, until_ms) values (${name}, ${coreId}, ${nowMs + this.leaseMs})
      on conflict (name) do update set holder = excluded.holder, until_ms = excluded.until_ms
      where duties.holder = excluded.holder or duties.until_ms < ${nowMs}
      returning name`.execute(database.kysely)
    return rows.length > 0
  }
}
