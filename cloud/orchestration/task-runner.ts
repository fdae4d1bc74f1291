/**
 * Runs tasks: this core takes those that nobody has by lease, renews the leases, and gives each task its turns. A turn comes at
 * once when something of the task has changed here, at the time that its plan named, and now and then anyhow, since another
 * core may have changed it. When this core dies its leases run out and another one goes on.
 */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { TaskLeases } from './task-leases.ts'
import { NO_MEMORY, type TurnMemory, type TurnResult, type TurnTools, takeTurn } from './task-turn.ts'

export interface TaskRunnerOptions extends TurnTools {
  readonly commands: TurnTools['commands'] & { nudge(): void }
  readonly outbox: TurnTools['outbox'] & { nudge(): void }
  /** How long after this core died another one takes its tasks over. */
  readonly leaseMs: number
  /** How often new tasks, and changes by other cores, are looked for. */
  readonly pollMs: number
  readonly log: Logger
}

export interface RunnerStats {
  /** Tasks that this core runs now. */
  readonly running: number
  /** Since the start. */
  readonly turns: number
  readonly takenOver: number
  readonly issuedCommands: number
  readonly endedDevices: number
  readonly recalledCommands: number
  /** Turns that failed for a reason of their own. */
  readonly failedTurns: number
}

interface HeldTask {
  memory: TurnMemory
  /** Monotonic milliseconds. */
  nextAtMs: number
  /** As of its last turn; another value means that somebody changed it. */
  updatedAtMs: number
}

/** What a change brings is gathered for so long, since it is told before it is committed and seldom comes alone. */
const GATHER_MS = 25
/** A turn rests for so many times as long as it took, so that a large task leaves the database to others as well. */
const REST_FACTOR = 3
/** A task that nothing was heard of is looked at again: a change may have been told to a core that died. */
const RELOOK_MS = 15_000
const BACKOFF = { baseMs: 200, capMs: 5_000 }

export class TaskRunner {
  private readonly options: TaskRunnerOptions
  private readonly clock: Clock
  private readonly held = new Map<string, HeldTask>()
  /** Tasks whose devices moved, to be told to whoever follows them. */
  private readonly moved = new Set<string>()
  private readonly leases: TaskLeases
  private readonly counts = {
    turns: 0,
    takenOver: 0,
    issuedCommands: 0,
    endedDevices: 0,
    recalledCommands: 0,
    failedTurns: 0,
  }
  private readonly stopping = new AbortController()
  private running: Promise<void> | null = null
  private wake: (() => void) | null = null
  private nextPollMs = 0
  private renewedAtMs = Number.NEGATIVE_INFINITY
  private failures = 0

  constructor(options: TaskRunnerOptions) {
    this.options = options
    this.clock = options.clock
    this.leases = new TaskLeases(options)
  }

  start(): void {
    this.running ??= this.run()
  }

  /** Ends the turn in hand and gives the tasks to whoever wants them. */
  async stop(): Promise<void> {
    if (this.running === null || this.stopping.signal.aborted) {
      await this.running
      return
    }
    this.stopping.abort()
    this.wake?.()
    await this.running
    // When the database is away the leases run out by themselves.
    await this.release().catch(() => undefined)
  }

  /** Something of these tasks was committed: look at them at once. */
  nudge(taskIds: readonly string[]): void {
    const nowMs = this.clock.monotonicMs()
    for (const id of taskIds) {
      const held = this.held.get(id)
      if (held === undefined) this.nextPollMs = nowMs
      else held.nextAtMs = Math.min(held.nextAtMs, nowMs)
    }
    this.wake?.()
  }

  /** Devices of these tasks are moving in a transaction that is not committed yet. */
  noteMoved(taskIds: readonly string[]): void {
    const soonMs = this.clock.monotonicMs() + GATHER_MS
    for (const id of taskIds) {
      const held = this.held.get(id)
      if (held !== undefined) held.nextAtMs = Math.min(held.nextAtMs, soonMs)
      this.moved.add(id)
    }
    this.wake?.()
  }

  stats(): RunnerStats {
    return { ...this.counts, running: this.held.size }
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping
    while (!signal.aborted) {
      try {
        const nowMs = this.clock.monotonicMs()
        if (nowMs >= this.nextPollMs) {
          this.nextPollMs = nowMs + this.options.pollMs
          await this.poll()
        }
        await this.takeTurns()
        this.failures = 0
      } catch (error) {
        this.failed(error)
      }
      await this.rest()
    }
  }

  /** Every task that is due has one turn; those with more to do have another one after all others had theirs. */
  private async takeTurns(): Promise<void> {
    const dueAtMs = this.clock.monotonicMs()
    for (const [id, held] of this.held) {
      if (this.stopping.signal.aborted) return
      if (held.nextAtMs > dueAtMs) continue
      await this.takeTurn(id, held)
      // However many tasks have their turn: who is alive keeps them all, and on SQLite other work goes on in between.
      await this.renewLeases()
      await nextTurn()
    }
  }

  private async takeTurn(id: string, held: HeldTask): Promise<void> {
    const beganMs = this.clock.monotonicMs()
    // Set before, so that what is told meanwhile brings another turn.
    held.nextAtMs = beganMs + RELOOK_MS
    const turn = await this.tryTurn(id, held)
    if (turn === null) return
    this.counts.turns++
    if (!turn.ours) {
      this.held.delete(id)
      return
    }
    const { issued, ended, recalled } = turn.did
    this.counts.issuedCommands += issued
    this.counts.endedDevices += ended
    this.counts.recalledCommands += recalled
    if (issued + recalled > 0) this.options.commands.nudge()
    if (ended + recalled > 0) this.options.outbox.nudge()
    const nowMs = this.clock.monotonicMs()
    const restMs = turn.more ? 0 : REST_FACTOR * (nowMs - beganMs)
    const wantedMs = turn.more ? nowMs : Math.min(held.nextAtMs, nowMs + (turn.againMs ?? RELOOK_MS))
    held.nextAtMs = Math.max(nowMs + restMs, wantedMs)
    held.memory = turn.memory
    held.updatedAtMs = turn.updatedAtMs
  }

  /** Null when it failed by itself: then the others go on, and it is tried again later. */
  private async tryTurn(id: string, held: HeldTask): Promise<TurnResult | null> {
    try {
      return await takeTurn(this.options, id, held.memory)
    } catch (error) {
      if (error instanceof BusbarError && error.retryable) {
        held.nextAtMs = this.clock.monotonicMs()
        throw error
      }
      this.counts.failedTurns++
      this.options.log.error({ task: id, error: messageOf(error) }, 'a turn of a task failed')
      return null
    }
  }

  /** Leases, new tasks, and tasks that another core has changed. */
  private async poll(): Promise<void> {
    const { log } = this.options
    await this.tellMoved()
    await this.renewLeases()
    const wallMs = this.clock.wallMs()
    const monotonicMs = this.clock.monotonicMs()
    await this.leases.beginExpired(wallMs)
    const takenOver = await this.leases.claim(wallMs, this.stopping.signal)
    this.counts.takenOver += takenOver
    if (takenOver > 0) log.warn({ tasks: takenOver }, 'tasks of a core that is gone taken over')
    const ours = await this.leases.ours()
    const known = new Set(ours.map((task) => task.id))
    for (const id of this.held.keys()) if (!known.has(id)) this.held.delete(id)
    for (const { id, updated_at_ms: updatedAtMs } of ours) {
      const held = this.held.get(id)
      if (held === undefined) this.held.set(id, { memory: NO_MEMORY, nextAtMs: monotonicMs, updatedAtMs })
      else if (held.updatedAtMs !== updatedAtMs) held.nextAtMs = Math.min(held.nextAtMs, monotonicMs)
    }
  }

  private async renewLeases(): Promise<void> {
    const nowMs = this.clock.monotonicMs()
    if (nowMs - this.renewedAtMs < this.options.leaseMs / 3) return
    await this.leases.renew(this.clock.wallMs())
    this.renewedAtMs = nowMs
  }

  private async tellMoved(): Promise<void> {
    if (this.moved.size === 0) return
    const ids = [...this.moved]
    this.moved.clear()
    try {
      const { database, store } = this.options
      await database.transaction((transaction) => store.touch(ids, this.clock.wallMs(), transaction))
    } catch (error) {
      for (const id of ids) this.moved.add(id)
      throw error
    }
  }

  private async release(): Promise<void> {
    await this.tellMoved()
    this.held.clear()
    await this.leases.release()
  }

  private failed(error: unknown): void {
    const delayMs = fullJitterMs(this.failures, BACKOFF, this.options.random)
    if (this.failures % 20 === 0) this.options.log.error({ error: messageOf(error) }, 'tasks cannot be run')
    this.failures++
    this.nextPollMs = this.clock.monotonicMs() + delayMs
  }

  /** Until something is due, or somebody says so. */
  private async rest(): Promise<void> {
    const { signal } = this.stopping
    if (signal.aborted) return
    const nowMs = this.clock.monotonicMs()
    let untilMs = this.nextPollMs
    // After a failure the turns wait as well.
    if (this.failures === 0) for (const { nextAtMs } of this.held.values()) untilMs = Math.min(untilMs, nextAtMs)
    const delayMs = Math.max(0, untilMs - nowMs)
    await new Promise<void>((resolve) => {
      const timer = this.clock.after(delayMs, resolve)
      this.wake = () => {
        timer.cancel()
        resolve()
      }
    })
    this.wake = null
  }
}
