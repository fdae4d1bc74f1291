/**
 * Publishes the outbox. Any number of cores do so over one database: a row is leased while it is being published, and a
 * dead core's rows go to others when their leases end.
 *
 * Each topic has one publish of this core under way, so that a topic that cannot be published holds up no other. After a
 * publish one transaction marks its rows as sent and tells their owners; a crash in between publishes them again.
 */

import { type Clock, sleep, type Timer } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { aborted } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Bus } from './bus.ts'
import { USER_ACTIVITY_LOGS } from './catalogue.ts'
import type { Outbox } from './outbox.ts'
import { type PublishOutcome, publishRows } from './outbox-publish.ts'
import type { OutboxRow } from './outbox-rows.ts'
import { type OutboxCounts, OutboxStore, type RefusedRow } from './outbox-store.ts'
import { FAILURES_PER_LOG, OUTBOX_BACKOFF, OutboxTroubles } from './outbox-troubles.ts'
import { OutboxUpkeep } from './outbox-upkeep.ts'

/** Topics whose rows go once they are published: what is in them is sealed where it is stored, and would be plain here. */
const NOT_KEPT: ReadonlySet<string> = new Set([USER_ACTIVITY_LOGS])

export interface OutboxRelayOptions {
  readonly outbox: Outbox
  readonly bus: Pick<Bus, 'publish'>
  readonly database: DatabaseHandle
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  /** How long what was sent is kept, milliseconds; 0 removes it as soon as it is sent. */
  readonly keptMs: number
  /** How long after its core died a row is taken over, milliseconds. The cores' clocks differ by less. Default 15,000. */
  readonly leaseMs?: number
  /** How often the table is looked at without a nudge, milliseconds. Default 1,000. */
  readonly pollMs?: number
  /** How often a row is tried that the bus refuses for itself, before it is set aside. Default 10. */
  readonly failuresMax?: number
  /** Rows of one claim, and characters of their values; the rest waits for the next claim. Default 500, and 4 Mi. */
  readonly rowsMax?: number
  readonly sizeMax?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface OutboxStats {
  /** Due and not published, in the whole database, as of the last count, at most some seconds ago. */
  readonly waiting: number
  /** How long the oldest of them has been due, milliseconds; 0 when there is none. */
  readonly oldestWaitingMs: number
  /** Records that this core has published since the start. */
  readonly published: number
  /** Rows that the bus refused too often; they wait for an operator. */
  readonly setAside: number
  /** Why something is not published at the moment, or null. */
  readonly failing: string | null
}

/** While something is being published, nudges that come within this time share one claim. */
const GATHER_MS = 20
/** From the begin of one claim to that of the next; what comes after a longer pause is claimed at once. */
const PACE_MS = 10
const SET_ASIDE_REMEDY =
  'mend the cause, then: update outbox set failures = 0 where id = …; or delete the row to give the record up'

export class OutboxRelay implements Part {
  readonly name = 'outbox relay'
  private readonly options: OutboxRelayOptions
  private readonly store: OutboxStore
  private readonly upkeep: OutboxUpkeep
  private readonly leaseMs: number
  private readonly failuresMax: number
  /** What is being published, by topic. */
  private readonly lanes = new Map<string, { readonly rows: readonly OutboxRow[]; readonly done: Promise<void> }>()
  private readonly troubles: OutboxTroubles
  private databaseFailures = 0
  private databaseFailure: string | null = null
  private claimedMs = Number.NEGATIVE_INFINITY
  private published = 0
  private counted: OutboxCounts = { waiting: 0, oldestMs: null, setAside: 0 }
  private readonly stopping = new AbortController()
  /** Set when what is in hand is let go of, without waiting for the bus or the database. */
  private readonly lettingGo = new AbortController()
  private nudged = false
  private wakeUp = new AbortController()
  private gathering: Timer | null = null
  private running: Promise<void> | null = null

  constructor(options: OutboxRelayOptions) {
    const { database, coreId, clock, random, log, keptMs } = options
    this.options = options
    this.leaseMs = options.leaseMs ?? 15_000
    this.failuresMax = options.failuresMax ?? 10
    this.store = new OutboxStore(database, coreId)
    this.troubles = new OutboxTroubles({ clock, random, log })
    this.upkeep = new OutboxUpkeep({
      store: this.store,
      keptMs,
      leaseMs: this.leaseMs,
      failuresMax: this.failuresMax,
      leased: () => [...this.lanes.values()].flatMap(({ rows }) => rows.map(({ id }) => id)),
      onCounted: (counts) => {
        this.counted = counts
      },
      clock,
      log,
    })
    options.outbox.onNudge(() => this.nudge())
  }

  /** Does not wait for the database or the bus: what is stored waits for both. */
  async start(): Promise<void> {
    if (this.running !== null || this.stopping.signal.aborted) return
    this.upkeep.start()
    this.running = this.run()
  }

  /** Waits for what is being published; when `deadline` aborts that is let go of, and published by another core. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping.abort()
    this.wakeUp.abort()
    const letGo = (): void => this.lettingGo.abort()
    if (deadline.aborted) letGo()
    else deadline.addEventListener('abort', letGo, { once: true })
    await this.running
    const finished = Promise.all([...this.lanes.values()].map(({ done }) => done))
    await Promise.race([finished, aborted(this.lettingGo.signal)])
    this.gathering?.cancel()
    await Promise.race([this.upkeep.stop(), aborted(this.lettingGo.signal)])
    deadline.removeEventListener('abort', letGo)
  }

  stats(): OutboxStats {
    const { waiting, oldestMs, setAside } = this.counted
    return {
      waiting,
      oldestWaitingMs: oldestMs === null ? 0 : Math.max(0, this.options.clock.wallMs() - oldestMs),
      published: this.published,
      setAside,
      failing: this.databaseFailure ?? this.troubles.message,
    }
  }

  private async run(): Promise<void> {
    const { clock } = this.options
    while (!this.stopping.signal.aborted) {
      this.nudged = false
      const more = await this.claim()
      if (more || this.stopping.signal.aborted) continue
      this.wakeUp = new AbortController()
      await sleep(clock, this.pauseMs(), this.wakeUp.signal)
      this.gathering?.cancel()
      this.gathering = null
    }
  }

  private nudge(): void {
    this.nudged = true
    if (this.lanes.size === 0) this.wakeAfter(this.paceMs())
    else this.gathering ??= this.options.clock.after(GATHER_MS, () => this.wakeUp.abort())
  }

  private wakeAfter(ms: number): void {
    this.gathering?.cancel()
    this.gathering = ms === 0 ? null : this.options.clock.after(ms, () => this.wakeUp.abort())
    if (ms === 0) this.wakeUp.abort()
  }

  /** How long until the table is looked at by itself. */
  private pauseMs(): number {
    const { random, pollMs = 1_000 } = this.options
    if (this.databaseFailures > 0) return fullJitterMs(this.databaseFailures - 1, OUTBOX_BACKOFF, random)
    if (this.nudged) return this.lanes.size === 0 ? this.paceMs() : GATHER_MS
    // Several cores look at different times.
    return Math.min(pollMs * (0.5 + random.fraction() / 2), this.troubles.nextRetryMs())
  }

  private paceMs(): number {
    return Math.max(0, this.claimedMs + PACE_MS - this.options.clock.monotonicMs())
  }

  /** Begins to publish what is due; true when there may be more. */
  private async claim(): Promise<boolean> {
    const { clock, rowsMax = 500, sizeMax = 4 * 1024 ** 2 } = this.options
    this.claimedMs = clock.monotonicMs()
    const withoutTopics = [...new Set([...this.lanes.keys(), ...this.troubles.waiting()])]
    let rows: OutboxRow[]
    try {
      rows = await this.store.claim({
        clock,
        leaseMs: this.leaseMs,
        failuresMax: this.failuresMax,
        rowsMax,
        sizeMax,
        withoutTopics,
      })
    } catch (error) {
      this.noteDatabase(error)
      return false
    }
    this.noteDatabase(null)
    const byTopic = Map.groupBy(rows, (row) => row.topic)
    if (rows.length === 0) this.troubles.nothingLeft((topic) => !withoutTopics.includes(topic))
    for (const [topic, ofTopic] of byTopic) {
      const done = this.publish(topic, ofTopic).finally(() => {
        this.lanes.delete(topic)
        this.nudged = true
        this.wakeAfter(this.paceMs())
      })
      this.lanes.set(topic, { rows: ofTopic, done })
      this.troubles.tryingAgain(topic)
    }
    const size = rows.reduce((sum, { value }) => sum + value.length, 0)
    return rows.length >= rowsMax || size >= sizeMax
  }

  /** Publishes rows of a topic and keeps what became of them. Never rejects. */
  private async publish(topic: string, rows: readonly OutboxRow[]): Promise<void> {
    const outcome = await publishRows(this.options.bus, topic, rows)
    if (outcome.failure === null) this.troubles.published(topic)
    else this.troubles.failed(topic, describe(outcome.failure))
    const refused = this.judge(outcome)
    const { clock, random, outbox, keptMs } = this.options
    for (let attempt = 0; !this.lettingGo.signal.aborted; attempt++) {
      try {
        const { stored, unsent } = outcome
        const keep = keptMs > 0 && !NOT_KEPT.has(topic)
        await this.store.settle({ stored, refused, unsent }, outbox, clock.wallMs(), keep)
        this.noteDatabase(null)
        this.published += stored.length
        if (refused.length > 0) this.upkeep.count()
        return
      } catch (error) {
        // What the bus has is not published again as long as this core lives, only marked again.
        this.noteDatabase(error)
        await sleep(clock, fullJitterMs(attempt, OUTBOX_BACKOFF, random), this.lettingGo.signal)
      }
    }
  }

  private judge({ refused }: PublishOutcome): RefusedRow[] {
    const { clock, random, log } = this.options
    return refused.map(({ row, reason }) => {
      const { id, topic, key } = row
      const failures = row.failures + 1
      const error = describe(reason)
      if (failures >= this.failuresMax) {
        log.error({ id, topic, key, failures, error, remedy: SET_ASIDE_REMEDY }, 'outbox record is set aside')
      } else if (failures === 1) {
        log.warn({ id, topic, key, error }, 'outbox record is refused; it is tried again')
      }
      return { row, error, retryAtMs: Math.ceil(clock.wallMs() + fullJitterMs(failures, OUTBOX_BACKOFF, random)) }
    })
  }

  private noteDatabase(failure: unknown): void {
    const { log } = this.options
    if (failure === null) {
      if (this.databaseFailures > 0) log.info('outbox is read again')
      this.databaseFailures = 0
      this.databaseFailure = null
      return
    }
    this.databaseFailure = describe(failure)
    if (this.databaseFailures++ % FAILURES_PER_LOG === 0) {
      log.warn({ error: this.databaseFailure }, 'outbox cannot be read or marked; it is tried again')
    }
  }
}

function describe(error: unknown): string {
  const hint = error instanceof BusbarError ? error.hint : undefined
  return hint === undefined ? messageOf(error) : `${messageOf(error)}. ${hint}`
}
