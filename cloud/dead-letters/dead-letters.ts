/**
 * Dead letters: every record of every dead-letter topic, whoever put it there, in one list with its error, and replayed from
 * there once the cause is mended. The topics keep them as well, for as long as their retention says.
 */

import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus, Subscription } from '../bus/bus.ts'
import { catalogue, DEAD_LETTER_INDEX_GROUP } from '../bus/catalogue.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import { DeadLetterIndex } from './dead-letter-index.ts'
import type { DeadLetter, DeadLetterFilter } from './dead-letter-rows.ts'
import { type DeadLetterCount, DeadLetterStore } from './dead-letter-store.ts'
import { readError } from './letter.ts'
import { isRefusal } from './original.ts'
import { Replay, type ReplayIntake, type ReplayListener, type ReplayResult } from './replay.ts'
import { type Decoders, restore } from './replay-plan.ts'
import type { ReplayRequest } from './replay-selection.ts'

export type { DeadLetter, DeadLetterFilter } from './dead-letter-rows.ts'
export type { DeadLetterCount } from './dead-letter-store.ts'
export { DEAD_LETTER_ID } from './letter.ts'
export type { Refusal } from './original.ts'
export type { Intake, IntakeLetter, ReplayIntake, ReplayListener, ReplayResult } from './replay.ts'
export type { Decoders } from './replay-plan.ts'
export type { ReplayRequest } from './replay-selection.ts'

export interface DeadLettersOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly coreId: string
  /** Reads again what devices sent and ingest gave up. */
  readonly intake: ReplayIntake
  /** By topic: whether our consumer of it would take a record. One that it would not take is not replayed. */
  readonly decoders: Decoders
  readonly settings: DeadLetterSettings
  /** How often the list is looked at for what has to go. Default 60,000. */
  readonly purgePeriodMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface DeadLetterSettings {
  /** How long they are listed, from when the bus took them in. */
  readonly keptDays: number
  /** How many are listed; at the limit the oldest go. */
  readonly keptMax: number
  /** A larger one is listed without its value, and cannot be replayed. */
  readonly valueBytesMax: number
}

/** One dead letter with all that is known of it. */
export interface DeadLetterDetails {
  readonly letter: DeadLetter
  /** Its `error` as it was written; null when it has none. */
  readonly error: Readonly<Record<string, unknown>> | null
  /** What it was before it became a dead letter; null when that cannot be known. */
  readonly original: Buffer | null
  /** Why there is no original; null when there is one. */
  readonly problem: string | null
  /** The dead letter as it is on its topic; null when it is not kept. */
  readonly value: Buffer | null
}

export interface DeadLettersStats {
  /** Dead letters that were new to the list. */
  readonly indexed: number
  /** Of those read, ones that are no JSON object or that the database did not take as they are. */
  readonly unreadable: number
  /** Ones that the database did not take at all. */
  readonly unlisted: number
  readonly replayed: number
  readonly refused: number
  readonly failed: number
  /** Taken off the list at a limit. */
  readonly purged: number
}

const PURGE_PERIOD_MS = 60_000
/** What one step of a purge removes at most, so that the database is free for others in between. */
const PURGE_ROWS = 200
const PURGE_BYTES = 4 * 1024 * 1024
/** Nobody waits for the list, and a fetch for every dead letter of a bad device costs more than the dead letter. */
const GATHER_MS = 250

export class DeadLetters implements Part {
  readonly name = 'dead letters'
  private readonly options: DeadLettersOptions
  private readonly store: DeadLetterStore
  private readonly index: DeadLetterIndex
  private readonly replays: Replay
  private readonly purge: Duty
  private purged = 0
  private subscribing: Promise<Subscription> | null = null
  private stopping: Promise<void> | null = null

  constructor(options: DeadLettersOptions) {
    this.options = options
    const { database, settings, coreId, purgePeriodMs = PURGE_PERIOD_MS, clock, log } = options
    this.store = new DeadLetterStore(database)
    this.index = new DeadLetterIndex({ store: this.store, valueBytesMax: settings.valueBytesMax, clock, log })
    this.replays = new Replay({ ...options, store: this.store })
    const work = (signal: AbortSignal) => this.removeOld(signal)
    this.purge = new Duty({ name: 'dead letter purge', database, coreId, periodMs: purgePeriodMs, work, clock, log })
  }

  /** @throws BusbarError TOPIC_MISSING */
  async start(): Promise<void> {
    this.subscribing ??= this.options.bus.subscribe({
      group: DEAD_LETTER_INDEX_GROUP,
      topics: catalogue().flatMap(({ deadLetterTopic }) => deadLetterTopic ?? []),
      gatherMs: GATHER_MS,
      onBatch: (batch) => this.index.take(batch),
    })
    await this.subscribing
    await this.purge.start()
  }

  /** Finishes the batch in hand and leaves the group. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping ??= this.leave(deadline)
    await this.stopping
  }

  /** The newest first. @throws InvalidRegistrationError */
  async list(request: PageRequest & DeadLetterFilter = {}): Promise<Page<DeadLetter>> {
    return await this.store.list(request)
  }

  /** Null when there is none of that id. */
  async get(id: string): Promise<DeadLetterDetails | null> {
    const [letter] = await this.store.find([id])
    if (letter === undefined) return null
    const values = (await this.store.values([id])).get(id) ?? new Map()
    const value = values.get(1) ?? null
    const original = restore(letter, values)
    return {
      letter,
      error: value === null ? null : readError(value),
      original: isRefusal(original) ? null : original.value,
      problem: isRefusal(original) ? original.message : null,
      value,
    }
  }

  /** How many there are of each topic and code, the most first. */
  async summary(): Promise<readonly DeadLetterCount[]> {
    return await this.store.summary()
  }

  /**
   * Publishes what dead letters were before, once each however many ask at the same time. A crash on the way may publish some
   * twice.
   * @param onNoted joins what else has to be stored with it.
   * @throws InvalidRegistrationError, BusbarError DATABASE_UNAVAILABLE
   */
  async replay(request: ReplayRequest, onNoted?: ReplayListener): Promise<ReplayResult> {
    return await this.replays.replay(request, onNoted)
  }

  stats(): DeadLettersStats {
    return { ...this.index.stats(), ...this.replays.stats(), purged: this.purged }
  }

  private async leave(deadline: AbortSignal): Promise<void> {
    const subscription = await this.subscribing?.catch(() => null)
    await subscription?.stop()
    await this.purge.stop(deadline)
  }

  private async removeOld(signal: AbortSignal): Promise<void> {
    const { settings, clock } = this.options
    const beforeMs = Math.floor(clock.wallMs()) - settings.keptDays * DAY_MS
    let removed: number
    do {
      removed = await this.remove(beforeMs, PURGE_ROWS)
    } while (removed > 0 && !signal.aborted)
    let excess = (await this.store.size()) - settings.keptMax
    while (excess > 0 && !signal.aborted) {
      removed = await this.remove(null, Math.min(PURGE_ROWS, excess))
      if (removed === 0) break
      excess -= removed
    }
  }

  private async remove(beforeMs: number | null, rowsMax: number): Promise<number> {
    const removed = await this.store.removeOldest(beforeMs, rowsMax, PURGE_BYTES)
    this.purged += removed
    await nextTurn()
    return removed
  }
}
