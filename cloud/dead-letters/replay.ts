/**
 * Replays dead letters: claims them, publishes what they were before they became dead letters, and notes that.
 *
 * A crash between the publish and the note leaves the claim to run out, and then the same dead letter may be published a
 * second time: as after any redelivery, consumers know it by its gateway and sequence, or by its id.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus } from '../bus/bus.ts'
import { storedOf } from '../bus/publish-error.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { DeadLetter } from './dead-letter-rows.ts'
import type { DeadLetterStore } from './dead-letter-store.ts'
import { isRefusal, type Refusal } from './original.ts'
import { type Decoders, planRecord, type ReplayRecord, restore, unusable } from './replay-plan.ts'
import { type ReplayRequest, type Selected, selectLetters } from './replay-selection.ts'

/** A dead letter of ingest: what a device sent, which no consumer ever saw. */
export interface IntakeLetter {
  readonly originalTopic: string
  readonly key: string | null
  readonly headers: Readonly<Record<string, string>>
  /** As the device sent it. */
  readonly payload: Buffer
}

export interface Intake {
  /** What a normal intake would have published; empty when it only changes what is known of the device. */
  readonly records: readonly ReplayRecord[]
  /** Something to know about it, for people. */
  readonly note: string | null
  /** What else a normal intake would have done, once the records are published; nothing when absent. */
  readonly settle?: () => Promise<void>
}

/** Reads what devices sent as ingest does. */
export interface ReplayIntake {
  /** @param options dryRun leaves everything as it is. @throws BusbarError DATABASE_UNAVAILABLE */
  tryIntake(letter: IntakeLetter, options: { readonly dryRun: boolean }): Promise<Intake | Refusal>
}

/**
 * LEFT: it did not fit in this request, ask again. FAILED: something that it takes is away. SKIPPED: it was replayed before, or
 * another replay has it in hand.
 */
export type ReplayOutcome = 'REPLAYED' | 'WOULD_REPLAY' | 'REFUSED' | 'SKIPPED' | 'NOT_FOUND' | 'FAILED' | 'LEFT'

export interface ReplayedLetter {
  readonly id: string
  readonly outcome: ReplayOutcome
  /** Where it went or would go; null when it goes nowhere. */
  readonly topic: string | null
  readonly key: string | null
  /** Of the value. */
  readonly bytes: number | null
  /** Why not. */
  readonly code: string | null
  readonly message: string | null
}

export interface ReplayResult {
  readonly dryRun: boolean
  readonly results: readonly ReplayedLetter[]
  /** How many of those meant were not looked at. */
  readonly left: number
  /** Goes on behind these; null when nothing is left, and for ids. */
  readonly next: string | null
}

/** Called in the transaction that notes what was replayed; not at all when nothing was. */
export type ReplayListener = (result: ReplayResult, transaction: Transaction<Database>) => Promise<void>

export interface ReplayOptions {
  readonly database: DatabaseHandle
  readonly store: DeadLetterStore
  readonly bus: Pick<Bus, 'publish'>
  readonly intake: ReplayIntake
  readonly decoders: Decoders
  readonly clock: Clock
  readonly random: Random
}

/** How long a replay that was cut off keeps its dead letters from others, milliseconds. */
const CLAIM_MS = 120_000
/** Read before everything else in the process gets its turn. */
const LETTERS_PER_TURN = 20
/** Who gives up what devices send. */
const INGEST_SOURCE = 'ingest'

/** One request under way. */
interface Run {
  readonly dryRun: boolean
  readonly results: Map<string, ReplayedLetter>
  readonly done: string[]
  pending: { readonly letter: DeadLetter; readonly replay: ReplayRecord; readonly note: string | null }[]
  /** What is away; the rest is not tried. */
  away: Refusal | null
}

export class Replay {
  private readonly options: ReplayOptions
  private readonly counts: Record<'replayed' | 'refused' | 'failed', number> = { replayed: 0, refused: 0, failed: 0 }

  constructor(options: ReplayOptions) {
    this.options = options
  }

  stats(): Readonly<Record<'replayed' | 'refused' | 'failed', number>> {
    return { ...this.counts }
  }

  /** @throws InvalidRegistrationError, BusbarError DATABASE_UNAVAILABLE */
  async replay(request: ReplayRequest, onNoted?: ReplayListener): Promise<ReplayResult> {
    const { store, database, clock, random } = this.options
    const { dryRun = false, again = false } = request
    const selected = await selectLetters(request, store, clock.wallMs())
    const run: Run = { dryRun, results: new Map(), done: [], pending: [], away: null }
    for (const [id, code, message] of selected.skipped) run.results.set(id, told(id, 'SKIPPED', { code, message }))
    for (const id of selected.unknown) {
      const message = 'there is no such dead letter, or it has left the list'
      run.results.set(id, told(id, 'NOT_FOUND', { code: 'NOT_FOUND', message }))
    }
    for (const id of selected.left) {
      run.results.set(id, told(id, 'LEFT', { code: 'LEFT', message: 'it did not fit in this request; ask again' }))
    }
    const ids = selected.letters.map(({ id }) => id)
    const claim = randomHex(random, 12)
    let letters = selected.letters
    if (!dryRun && ids.length > 0) {
      const nowMs = Math.round(clock.wallMs())
      const claimed = await store.claim(ids, { claim, nowMs, untilMs: nowMs + CLAIM_MS, again })
      letters = selected.letters.filter(({ id }) => claimed.has(id))
      for (const id of ids) if (!claimed.has(id)) run.results.set(id, told(id, 'SKIPPED', IN_HAND))
    }
    try {
      const values = await store.values(letters.map(({ id }) => id))
      for (const [index, letter] of letters.entries()) {
        await this.take(letter, values.get(letter.id) ?? new Map(), run)
        if (index % LETTERS_PER_TURN === 0) await nextTurn()
      }
      await this.publishPending(run)
    } finally {
      const others = letters.map(({ id }) => id).filter((id) => !run.done.includes(id))
      if (!dryRun && others.length > 0) await store.release(others, claim).catch(() => undefined)
    }
    const result = resultOf(run, selected)
    if (run.done.length > 0) {
      await database.transaction(async (transaction) => {
        await store.markReplayed(run.done, claim, Math.round(clock.wallMs()), transaction)
        await onNoted?.(result, transaction)
      })
    }
    return result
  }

  private async take(letter: DeadLetter, values: ReadonlyMap<number, Buffer | null>, run: Run): Promise<void> {
    if (run.away !== null) {
      this.fail(letter, run.away, run)
      return
    }
    const { intake, decoders, clock } = this.options
    const original = restore(letter, values)
    if (isRefusal(original)) {
      this.refuse(letter, original, run)
      return
    }
    if (letter.source !== INGEST_SOURCE) {
      const replay = planRecord(letter, original.value, decoders, clock.wallMs())
      if (isRefusal(replay)) this.refuse(letter, replay, run)
      else run.pending.push({ letter, replay, note: null })
      return
    }
    const { originalTopic, key, headers } = letter
    const taken = await intake.tryIntake(
      { originalTopic, key, headers, payload: original.value },
      { dryRun: run.dryRun },
    )
    if (isRefusal(taken)) {
      this.refuse(letter, taken, run)
      return
    }
    await this.takeIn(letter, taken, run)
  }

  /** What has to be settled is settled before the next dead letter is looked at, which may depend on it. */
  private async takeIn(letter: DeadLetter, { records, note, settle }: Intake, run: Run): Promise<void> {
    const { decoders, clock } = this.options
    const [replay] = records
    const refused = replay === undefined ? null : unusable(replay, decoders, clock.wallMs())
    if (refused !== null) {
      this.refuse(letter, refused, run)
      return
    }
    if (replay !== undefined) run.pending.push({ letter, replay: withReplayOf(replay, letter.id), note })
    if (settle === undefined && replay !== undefined) return
    await this.publishPending(run)
    if (run.away !== null) return
    if (!run.dryRun) await settle?.()
    if (replay === undefined) this.finish(letter, null, note, run)
  }

  private async publishPending(run: Run): Promise<void> {
    const { pending } = run
    run.pending = []
    for (const [topic, group] of Map.groupBy(pending, ({ replay }) => replay.topic)) {
      if (run.dryRun || (await this.publishAll(topic, group, run))) {
        for (const { letter, replay, note } of group) this.finish(letter, replay, note, run)
      }
    }
  }

  /** True when all of it is published; otherwise the results say what is. */
  private async publishAll(topic: string, group: Run['pending'], run: Run): Promise<boolean> {
    if (run.away !== null) {
      for (const { letter } of group) this.fail(letter, run.away, run)
      return false
    }
    try {
      await this.options.bus.publish(
        topic,
        group.map(({ replay }) => replay.record),
      )
      return true
    } catch (error) {
      const stored = new Set(storedOf(error))
      const missing = group.filter((_, index) => !stored.has(index))
      for (const { letter, replay, note } of group.filter((_, index) => stored.has(index))) {
        this.finish(letter, replay, note, run)
      }
      const failure = failureOf(error)
      if (!(error instanceof BusbarError) || error.retryable) {
        run.away = failure
        for (const { letter } of missing) this.fail(letter, failure, run)
        return false
      }
      if (group.length === 1) {
        for (const { letter } of missing) this.refuse(letter, failure, run)
        return false
      }
      // One of them is at fault; the others must not suffer for it.
      for (const one of missing) {
        if (await this.publishAll(topic, [one], run)) this.finish(one.letter, one.replay, one.note, run)
      }
      return false
    }
  }

  private finish({ id }: DeadLetter, replay: ReplayRecord | null, note: string | null, run: Run): void {
    const { topic = null, record } = replay ?? {}
    const bytes = record?.value.length ?? null
    const outcome = run.dryRun ? 'WOULD_REPLAY' : 'REPLAYED'
    run.results.set(id, { id, outcome, topic, key: record?.key ?? null, bytes, code: null, message: note })
    if (run.dryRun) return
    run.done.push(id)
    this.counts.replayed++
  }

  private refuse({ id }: DeadLetter, reason: Refusal, run: Run): void {
    run.results.set(id, told(id, 'REFUSED', reason))
    if (!run.dryRun) this.counts.refused++
  }

  private fail({ id }: DeadLetter, reason: Refusal, run: Run): void {
    run.results.set(id, told(id, 'FAILED', reason))
    this.counts.failed++
  }
}

const IN_HAND: Refusal = {
  code: 'IN_HAND',
  message: 'another replay has it in hand, or has just replayed it',
}

function resultOf(run: Run, { order, leftCount, next }: Selected): ReplayResult {
  const results = order.flatMap((id) => run.results.get(id) ?? [])
  return { dryRun: run.dryRun, results, left: leftCount, next }
}

function told(id: string, outcome: ReplayOutcome, { code, message }: Refusal): ReplayedLetter {
  return { id, outcome, topic: null, key: null, bytes: null, code, message }
}

function withReplayOf({ topic, record }: ReplayRecord, id: string): ReplayRecord {
  return { topic, record: { ...record, headers: { ...record.headers, replayOf: id } } }
}

function failureOf(error: unknown): Refusal {
  return { code: error instanceof BusbarError ? error.code : 'PUBLISH_FAILED', message: messageOf(error) }
}
