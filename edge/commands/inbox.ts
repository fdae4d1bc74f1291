/**
 * The inbox: commands of the cloud for the devices here. A command is receipted when it is on disk, known by its id from
 * then on, and followed to its end (`dispatch.ts`). This file joins the parts and keeps them going.
 *
 *     uplink ─▶ receive ─▶ commands.db ─▶ dispatch ─▶ route of the device
 *                                             └▶ facts ─▶ spool
 */

import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Timer } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { aborted } from '../../shared/waiting.ts'
import { workerUrl } from '../../shared/worker-url.ts'
import { GroupJournal } from '../journal/group-journal.ts'
import { type Boot, presentBoot } from '../spool/boot.ts'
import { cloudWallMs, confirmed, type LearnedTime } from './cloud-time.ts'
import { commandPayload } from './command-payload.ts'
import { CommandDispatch } from './dispatch.ts'
import { FactTeller, type StoredFact } from './fact-teller.ts'
import { inboxPath } from './inbox-file.ts'
import { parseImage } from './inbox-image.ts'
import type { InboxChange, InboxOutcome, NewCommand } from './inbox-tables.ts'
import type { Now } from './life-state.ts'
import { CHANGES_PER_COMMAND_MAX, PURGE_PERIOD_MS, PURGE_ROWS_MAX, TICK_MS } from './limits.ts'
import type { CommandInboxOptions, CommandInboxStats, Receipts } from './options.ts'
import { Tally } from './tally.ts'

export type { CommandInboxOptions, CommandInboxStats, Receipts }

/** What exists from `start` on. */
interface Running {
  readonly boot: Boot
  readonly journal: GroupJournal<InboxChange, InboxOutcome>
  readonly teller: FactTeller
  readonly dispatch: CommandDispatch
  readonly timers: readonly Timer[]
}

export class CommandInbox implements Part {
  readonly name = 'commands'
  private readonly options: CommandInboxOptions
  private running: Running | null = null
  private starting: Promise<void> | null = null
  private stopping: Promise<void> | null = null
  private loaded = false
  private learned: LearnedTime | null = null
  /** Commands on their way to the disk; true for those that were cancelled meanwhile. */
  private readonly arriving = new Map<string, boolean>()
  /** Finished ids on disk, without those that ended in this run. */
  private remembered = 0
  private stored = 0
  private refused = 0

  constructor(options: CommandInboxOptions) {
    this.options = options
  }

  /** To be called before the broker starts. A disk that refuses does not fail it: `stats` says so, and it is tried again. */
  start(): Promise<void> {
    this.starting ??= this.open()
    return this.starting
  }

  /** Waits for what is on its way to the disk and the spool; nothing is lost when the deadline comes first. */
  async stop(deadline: AbortSignal): Promise<void> {
    if (this.starting === null) return
    await this.starting
    this.stopping ??= this.close()
    await Promise.race([this.stopping, aborted(deadline)])
  }

  /**
   * Takes commands in; never rejects. What is `stored` survives a power cut, and ends as a fact or as the device's answer.
   * What is `refused` is not carried out: the inbox is full, or its disk refuses.
   */
  async receive(commands: readonly Command[]): Promise<Receipts> {
    const { running } = this
    if (running === null || !this.loaded || this.stopping !== null) return this.refuse(commands)
    const { dispatch, journal } = running
    const room = Math.max(0, this.options.inboxMax - dispatch.size - this.arriving.size)
    for (const { commandId } of commands) if (!this.arriving.has(commandId)) this.arriving.set(commandId, false)
    try {
      const outcome = await journal.attempt({ kind: 'receive', commands: commands.map(newCommand), room })
      return this.admit(dispatch, commands, outcome)
    } catch {
      return this.refuse(commands)
    } finally {
      for (const { commandId } of commands) this.arriving.delete(commandId)
    }
  }

  /** Ends those that were not written to their device yet; says nothing of others. */
  cancel(commandIds: readonly string[]): void {
    for (const id of commandIds) if (this.arriving.has(id)) this.arriving.set(id, true)
    this.running?.dispatch.cancel(commandIds)
  }

  /** @param offsetMs the cloud's wall clock minus this process's monotonic clock, never too small. */
  learnCloudTime(offsetMs: number): void {
    const { running } = this
    if (running === null) return
    const { monotonicBaseMs } = running.boot
    this.learn(running, {
      offsetMs: Math.ceil(offsetMs - monotonicBaseMs),
      atMs: Math.floor(this.options.clock.monotonicMs() + monotonicBaseMs),
    })
  }

  /** The cloud's wall clock said `wallMs` at some moment between `sinceMs` of this process's monotonic clock and now. */
  confirmCloudTime(wallMs: number, sinceMs: number): void {
    const { running, learned } = this
    if (running === null || learned === null) return
    const { boot } = running
    const after = confirmed(learned, wallMs, sinceMs + boot.monotonicBaseMs, this.now(boot).monotonicMs)
    if (after !== learned) this.learn(running, after)
  }

  stats(): CommandInboxStats {
    const { dispatch, journal } = this.running ?? {}
    const tally = dispatch?.tally ?? new Tally()
    return {
      waiting: tally.count('waiting', 'claiming'),
      sent: tally.count('published', 'repeating', 'receiving', 'received', 'answered'),
      delivered: tally.count('delivered'),
      remembered: this.remembered + tally.endedCount,
      untold: dispatch?.untold ?? 0,
      stored: this.stored,
      refused: this.refused,
      deliveries: tally.deliveries,
      ended: { ...tally.endings },
      failing: journal?.failing ?? null,
    }
  }

  private async open(): Promise<void> {
    const { clock, random, log, dir, inboxMax, spool, outlet } = this.options
    const boot = this.options.boot ?? presentBoot(clock, random)
    const journal = new GroupJournal<InboxChange, InboxOutcome>({
      path: inboxPath(dir),
      changesMax: inboxMax * CHANGES_PER_COMMAND_MAX,
      startThread: () => new Worker(workerUrl('edge/commands/inbox-worker.ts')),
      texts: {
        refused:
          'commands cannot be stored: none is taken or begun until they can. Check the disk and its permissions.',
        stored: 'commands are stored again',
        gaveUp: 'too many steps of commands wait for the disk; none is taken or begun until the next start',
      },
      probe: { kind: 'probe' },
      onFailing: (failing) => {
        if (failing === null) dispatch.resume()
      },
      onReplaced: (damagedFile) => this.replaced(damagedFile),
      clock,
      random,
      log,
    })
    const teller = new FactTeller({
      spool,
      handedOver: (fact) => dispatch.handedOver(fact),
      told: ({ position, state }: StoredFact) => journal.append({ kind: 'told', position, state }),
      clock,
      random,
    })
    const dispatch = new CommandDispatch({
      journal,
      teller,
      show: (device, payload) => outlet.show(device, payload),
      bootId: boot.id,
      now: () => this.now(boot),
    })
    const timers = [
      clock.every(TICK_MS, () => dispatch.tick()),
      clock.every(PURGE_PERIOD_MS, () => this.purge(journal, boot)),
    ]
    this.running = { boot, journal, teller, dispatch, timers }
    teller.start()
    outlet.listen(dispatch)
    journal.append({ kind: 'load' }, ({ image }) => {
      if (image !== undefined) this.load(image, boot, dispatch)
    })
    await journal.durable()
  }

  private async close(): Promise<void> {
    if (this.running === null) return
    const { timers, teller, journal } = this.running
    for (const timer of timers) timer.cancel()
    await teller.settled()
    await journal.close()
  }

  private load(text: string, boot: Boot, dispatch: CommandDispatch): void {
    const image = parseImage(text)
    this.loaded = true
    // Those with a fact untold end, and count, once more.
    this.remembered = image.remembered - image.commands.filter(({ row }) => row.phase === 'ended').length
    if (this.learned === null && image.learned?.bootId === boot.id) this.learned = image.learned
    dispatch.restore(image)
  }

  private learn({ boot, journal, dispatch }: Running, learned: LearnedTime): void {
    this.learned = learned
    if (journal.failing === null) journal.append({ kind: 'learn', bootId: boot.id, learned })
    dispatch.resume()
  }

  private now(boot: Boot): Now {
    const monotonicMs = Math.round(this.options.clock.monotonicMs() + boot.monotonicBaseMs)
    return { monotonicMs, cloudMs: cloudWallMs(this.learned, monotonicMs) }
  }

  private admit(dispatch: CommandDispatch, commands: readonly Command[], { admitted = [] }: InboxOutcome): Receipts {
    const stored: string[] = []
    const refused: string[] = []
    for (const [index, { commandId, siteId, serialNumber, expiresAtMs, timeoutMs }] of commands.entries()) {
      const verdict = admitted[index]
      if (verdict === undefined || verdict.position === 0) {
        refused.push(commandId)
        continue
      }
      stored.push(commandId)
      if (verdict.isNew) this.stored++
      // One that is known and waits on disk alone came with a commit whose outcome was never heard.
      if (!verdict.isWaiting || dispatch.has(commandId)) continue
      dispatch.admit({ position: verdict.position, commandId, siteId, serialNumber, expiresAtMs, timeoutMs })
      if (this.arriving.get(commandId) === true) dispatch.cancel([commandId])
    }
    this.refused += refused.length
    return { stored, refused }
  }

  private refuse(commands: readonly Command[]): Receipts {
    this.refused += commands.length
    return { stored: [], refused: commands.map(({ commandId }) => commandId) }
  }

  private purge(journal: GroupJournal<InboxChange, InboxOutcome>, boot: Boot): void {
    const { cloudMs } = this.now(boot)
    if (cloudMs === null || journal.failing !== null) return
    journal.append({ kind: 'purge', cloudMs, keptMs: this.options.keptDays * DAY_MS }, ({ removed = 0 }) => {
      this.remembered -= removed
      if (removed === PURGE_ROWS_MAX && this.stopping === null) this.purge(journal, boot)
    })
  }

  private replaced(damagedFile: string): void {
    const { dir, log } = this.options
    this.running?.dispatch.clear()
    this.remembered = -(this.running?.dispatch.tally.endedCount ?? 0)
    log.error(
      { path: inboxPath(dir), damagedFile, code: 'COMMANDS_DAMAGED' },
      'the inbox of commands is damaged and was set aside: what waited for devices is lost and ends as TIMED_OUT in the cloud, and which commands were carried out is forgotten. Readings are not concerned.',
    )
  }
}

function newCommand(command: Command): NewCommand {
  const { commandId, siteId, serialNumber, expiresAtMs, timeoutMs } = command
  return { commandId, siteId, serialNumber, expiresAtMs, timeoutMs, payload: commandPayload(command) }
}
