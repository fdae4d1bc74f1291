/**
 * Hands commands to the gateways that this core has, and ends those that nobody answers. It takes turns, one at a time:
 * woken by whoever issued a command, by a gateway that comes, by receipts, and every so often because another core may have
 * issued. Everything it does is decided anew from the database, so any number of cores may run one.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { failureKind } from '../database/failure.ts'
import type { FinalState } from './command-state.ts'
import { CommandSweep } from './command-sweep.ts'
import type { DeviceCommands } from './device-commands.ts'
import type { Gateways } from './gateways.ts'
import { HandOver } from './hand-over.ts'
import { Isolation } from './isolation.ts'

export interface CommandDispatcherOptions {
  readonly database: DatabaseHandle
  readonly gateways: Pick<Gateways, 'listen' | 'openSessions'>
  readonly commands: DeviceCommands
  /** Commands handed to one gateway that it has not receipted; further ones wait. */
  readonly windowCommands: number
  /** How long after expiry and timeout the cloud waits for what a gateway may still have to tell, milliseconds. */
  readonly answerGraceMs: number
  /** How long finished commands are kept, milliseconds. */
  readonly keptMs: number
  /** How often is looked for what other cores issued, milliseconds. Default 250. */
  readonly pollMs?: number
  /** How long after a gateway refused a command it is tried again, milliseconds. Default 5,000. */
  readonly refusedPauseMs?: number
  /** How long after it was handed over without a receipt it is handed over again, milliseconds. Default 30,000. */
  readonly unansweredMs?: number
  /** How often a gateway is asked again to give a command back, milliseconds. Default 5,000. */
  readonly cancelRepeatMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface DispatchStats {
  /** Commands of all cores that wait for their gateway, as of the last count. */
  readonly waiting: number
  /** Handed over and not receipted, of all cores, as of the last count. */
  readonly unreceipted: number
  /** Not finished, of all cores, as of the last count. */
  readonly open: number
  /** Commands that ended through this core since its start, by state. */
  readonly finished: Readonly<Record<FinalState, number>>
}

const SWEEP_PERIOD_MS = 1_000
/** Between two turns, so that what comes in together is worked on together. */
const SPACING_MS = 10
/** While the database is away. */
const FAILURE_CAP_MS = 5_000
const ASIDE_MS = 60_000
const ASIDE_MAX = 500

export class CommandDispatcher implements Part {
  readonly name = 'command dispatcher'
  private readonly options: CommandDispatcherOptions
  private readonly handOver: HandOver
  private readonly sweep: CommandSweep
  private readonly pollMs: number
  private started = false
  private stopped = false
  private timer: Timer | null = null
  private turning: Promise<void> | null = null
  /** When the next turn begins, monotonic. */
  private dueAtMs = Number.POSITIVE_INFINITY
  private endedAtMs = Number.NEGATIVE_INFINITY
  private sweepDueAtMs = Number.NEGATIVE_INFINITY
  private failures = 0
  private readonly complaints: ComplaintLimit

  constructor(options: CommandDispatcherOptions) {
    this.complaints = new ComplaintLimit(options.clock)
    this.options = options
    const { refusedPauseMs = 5_000, unansweredMs = 30_000, cancelRepeatMs = 5_000, pollMs = 250 } = options
    const isolation = new Isolation({ ...options, asideMs: ASIDE_MS, asideMax: ASIDE_MAX })
    this.pollMs = pollMs
    this.handOver = new HandOver({ ...options, isolation, refusedPauseMs, unansweredMs, cancelRepeatMs })
    this.sweep = new CommandSweep({ ...options, isolation })
  }

  async start(): Promise<void> {
    if (this.started) return
    this.started = true
    const { gateways, commands } = this.options
    gateways.listen({
      opened: () => this.wake(0),
      receipted: (gatewayId, sessionId, receipts) => {
        this.handOver.receipted(gatewayId, sessionId, receipts)
        this.wake(0)
      },
    })
    commands.onNudge(() => this.wake(0))
    this.wake(0)
  }

  /** Stores the receipts that it has; what is handed over without one is handed over again by the next session. */
  async stop(deadline: AbortSignal): Promise<void> {
    if (!this.started || this.stopped) return
    this.stopped = true
    this.timer?.cancel()
    await this.turning
    if (deadline.aborted) return
    try {
      await this.handOver.settleReceipts()
    } catch (error) {
      this.complain(error)
    }
  }

  /** Without I/O; counts over all cores are some seconds old. */
  stats(): DispatchStats {
    const { open, unstored, waiting } = this.sweep.openCounts
    return { waiting, open, unreceipted: Math.max(0, unstored - waiting), finished: this.options.commands.finished() }
  }

  private wake(delayMs: number): void {
    if (!this.started || this.stopped) return
    const { clock } = this.options
    const nowMs = clock.monotonicMs()
    const atMs = Math.max(nowMs + delayMs, this.endedAtMs + SPACING_MS)
    if (atMs >= this.dueAtMs) return
    this.dueAtMs = atMs
    if (this.turning !== null) return
    this.timer?.cancel()
    this.timer = clock.after(atMs - nowMs, () => this.begin())
  }

  private begin(): void {
    this.timer = null
    this.dueAtMs = Number.POSITIVE_INFINITY
    this.turning = this.turn().then((pauseMs) => {
      const { clock } = this.options
      this.turning = null
      this.endedAtMs = clock.monotonicMs()
      // What woke it meanwhile waits in dueAtMs without a timer.
      const wokenAtMs = this.dueAtMs
      this.dueAtMs = Number.POSITIVE_INFINITY
      this.wake(Math.min(pauseMs, Math.max(0, wokenAtMs - this.endedAtMs)))
    })
  }

  /** Never rejects. Resolves with how long to wait for the next turn unless something happens, milliseconds. */
  private async turn(): Promise<number> {
    const { random } = this.options
    try {
      const more = await this.work()
      this.failures = 0
      return more ? 0 : this.pollMs
    } catch (error) {
      this.complain(error)
      return this.pollMs + fullJitterMs(this.failures++, { baseMs: this.pollMs, capMs: FAILURE_CAP_MS }, random)
    }
  }

  /** True when there may be more to do at once. One step that fails does not keep the others from being taken. */
  private async work(): Promise<boolean> {
    const { handOver, sweep } = this
    const nowMs = this.options.clock.monotonicMs()
    const sweeps = nowMs >= this.sweepDueAtMs
    if (sweeps) this.sweepDueAtMs = nowMs + SWEEP_PERIOD_MS
    const steps: (() => Promise<unknown>)[] = [
      () => handOver.settleReceipts(),
      () => sweep.giveUpOverdue(),
      ...(sweeps ? [() => sweep.reroute()] : []),
      () => handOver.handOverDue(),
      () => handOver.askBack(),
      ...(sweeps ? [() => sweep.purge(), () => sweep.count()] : []),
    ]
    let more = false
    let failure: { readonly error: unknown } | null = null
    for (const step of steps) {
      if (this.stopped) return false
      try {
        if ((await step()) === true) more = true
      } catch (error) {
        failure ??= { error }
        if (failureKind(error) !== 'other') break
      }
    }
    if (failure !== null) throw failure.error
    return more
  }

  private complain(error: unknown): void {
    if (!this.complaints.isDue()) return
    this.options.log.warn({ error: messageOf(error) }, 'commands are not handed over; trying again')
  }
}
