/**
 * The edge's side of the simulation: the real dispatch, teller and tables, on a disk and a spool that commit when the
 * simulation says so, refuse now and then, and forget what was not committed when the power goes.
 */

import type { CommitListener, DurableLog } from '../../../../edge/broker/durable-log.ts'
import { cloudWallMs, type LearnedTime } from '../../../../edge/commands/cloud-time.ts'
import { commandPayload } from '../../../../edge/commands/command-payload.ts'
import { CommandDispatch, type DispatchJournal } from '../../../../edge/commands/dispatch.ts'
import { FactTeller } from '../../../../edge/commands/fact-teller.ts'
import { parseImage } from '../../../../edge/commands/inbox-image.ts'
import { type InboxChange, type InboxOutcome, InboxTables, SCHEMA } from '../../../../edge/commands/inbox-tables.ts'
import type { Command } from '../../../../proto/generated/busbar/edge/v1/uplink.ts'
import { type CommandFact, parseCommandFact } from '../../../../shared/command-fact.ts'
import { BusbarError } from '../../../../shared/errors.ts'
import type { Random } from '../../../../shared/random.ts'
import { openSqlite, type SqliteDatabase } from '../../../../shared/sqlite.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

type Stored = ((outcome: InboxOutcome) => void) | undefined

class SimulatedJournal implements DispatchJournal {
  failing: string | null = null
  private queue: { readonly change: InboxChange; readonly stored: Stored }[] = []
  private answers: (() => void)[] = []
  private readonly tables: InboxTables

  constructor(tables: InboxTables) {
    this.tables = tables
  }

  append(change: InboxChange, stored?: Stored): void {
    this.queue.push({ change, stored })
  }

  get isIdle(): boolean {
    return this.queue.length === 0 && this.answers.length === 0
  }

  /** Either puts the group on disk, or says that an earlier one is. */
  move(): void {
    if (this.answers.length > 0) {
      const answers = this.answers
      this.answers = []
      for (const answer of answers) answer()
    } else if (this.failing === null) {
      const group = this.queue
      this.queue = []
      const outcomes = this.tables.apply(group.map(({ change }) => change))
      this.answers = group.map(
        ({ stored }, index) =>
          () =>
            stored?.(outcomes[index] ?? {}),
      )
    }
  }
}

class SimulatedSpool implements DurableLog {
  readonly accepting = true
  private waiting: { readonly fact: CommandFact; readonly listener: CommitListener; readonly token: number }[] = []
  private readonly told: (fact: CommandFact) => void

  constructor(told: (fact: CommandFact) => void) {
    this.told = told
  }

  append(_lane: string, _topic: string, payload: Uint8Array, listener: CommitListener, token: number): void {
    const fact = parseCommandFact(Buffer.from(payload).toString())
    if (fact === null) throw new Error(`no fact: ${payload}`)
    this.waiting.push({ fact, listener, token })
  }

  get isIdle(): boolean {
    return this.waiting.length === 0
  }

  commit(error: BusbarError | null): void {
    const group = this.waiting
    this.waiting = []
    // All is on disk before anyone is told.
    if (error === null) for (const { fact } of group) this.told(fact)
    for (const { listener, token } of group) listener.committed(token, error)
  }

  onSettled(): void {}
  onAccepting(): void {}
}

export class SimulatedEdge {
  readonly database: SqliteDatabase
  private readonly random: Random
  private readonly told: (fact: CommandFact) => void
  private readonly tables: InboxTables
  private boot = 0
  private clock = new ManualClock()
  private learned: LearnedTime | null = null
  private ticks = 0
  journal!: SimulatedJournal
  spool!: SimulatedSpool
  dispatch!: CommandDispatch

  constructor(random: Random, told: (fact: CommandFact) => void) {
    this.random = random
    this.told = told
    this.database = openSqlite(':memory:')
    this.database.exec(SCHEMA)
    this.tables = new InboxTables(this.database)
    this.start()
  }

  /** @param drift how slow the monotonic clock is, such as 1e-4. */
  advance(ms: number, drift: number): void {
    this.clock.advance(ms * (1 - drift))
    if (this.clock.monotonicMs() < this.ticks) return
    this.ticks = this.clock.monotonicMs() + 1000
    this.dispatch.tick()
  }

  /** The process dies; after a power cut the monotonic clock starts anew and with it the boot. */
  crash(powerCut: boolean): void {
    if (powerCut) {
      this.boot++
      this.clock = new ManualClock()
      this.ticks = 0
    }
    this.start()
  }

  get bootId(): string {
    return `boot-${this.boot}`
  }

  stepWall(ms: number): void {
    this.clock.stepWall(ms)
  }

  /** @param cloudMs the cloud's clock when it answered, after `agoMs` of waiting for it. */
  learn(cloudMs: number, agoMs: number): void {
    const atMs = Math.floor(this.clock.monotonicMs())
    this.learned = { offsetMs: Math.ceil(cloudMs - (this.clock.monotonicMs() - agoMs)), atMs }
    this.journal.append({ kind: 'learn', bootId: this.bootId, learned: this.learned })
    this.dispatch.resume()
  }

  receive(command: Command, receipt: () => void): void {
    const { commandId, siteId, serialNumber, expiresAtMs, timeoutMs } = command
    const row = { commandId, siteId, serialNumber, expiresAtMs, timeoutMs, payload: commandPayload(command) }
    const { dispatch } = this
    this.journal.append({ kind: 'receive', commands: [row], room: 1000 }, ({ admitted }) => {
      const [verdict] = admitted ?? []
      if (verdict?.isWaiting && !dispatch.has(commandId)) dispatch.admit({ ...row, position: verdict.position })
      receipt()
    })
  }

  setFailing(failing: string | null): void {
    this.journal.failing = failing
    if (failing === null) this.dispatch.resume()
  }

  commitSpool(): void {
    this.spool.commit(
      this.random.fraction() < 0.05 ? new BusbarError('the spool refuses', { code: 'SPOOL_WRITE_FAILED' }) : null,
    )
  }

  private start(): void {
    const { random } = this
    const { clock } = this
    this.journal = new SimulatedJournal(this.tables)
    this.spool = new SimulatedSpool(this.told)
    const journal = this.journal
    const teller = new FactTeller({
      spool: this.spool,
      handedOver: (fact) => dispatch.handedOver(fact),
      told: ({ position, state }) => journal.append({ kind: 'told', position, state }),
      clock,
      random,
    })
    const dispatch = new CommandDispatch({
      journal,
      teller,
      show: () => undefined,
      bootId: this.bootId,
      now: () => {
        const monotonicMs = Math.round(clock.monotonicMs())
        return { monotonicMs, cloudMs: cloudWallMs(this.learned, monotonicMs) }
      },
    })
    this.dispatch = dispatch
    const [loaded] = this.tables.apply([{ kind: 'load' }])
    const image = parseImage(loaded?.image ?? '')
    this.learned = image.learned?.bootId === this.bootId ? image.learned : null
    dispatch.restore(image)
  }
}
