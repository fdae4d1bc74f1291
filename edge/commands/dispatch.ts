/**
 * Leads the open commands through their lives: asks `command-life.ts` what follows from what happened, and has it done, on
 * disk, on the routes of the devices and through the teller of facts. It waits for nothing and reads no disk.
 */

import type { CommandRoute, CommandRouteEvents, DeviceAddress } from '../broker/command-outlet.ts'
import { transition } from './command-life.ts'
import { answeredCommand } from './command-payload.ts'
import { DeviceLine, type OpenEntry } from './device-line.ts'
import type { FactTeller, StoredFact } from './fact-teller.ts'
import type { InboxChange, InboxImage, InboxOutcome } from './inbox-tables.ts'
import { lifeOf, rowOf } from './life-row.ts'
import { type CommandLife, isAnswered, isDue, isOver, type Now, type Outcome, WAITING } from './life-state.ts'
import type { LifeEffect, LifeFact, LifeInput } from './life-step.ts'
import { LooseIds } from './loose-ids.ts'

/** What is needed of the journal. */
export interface DispatchJournal {
  append(change: InboxChange, stored?: (outcome: InboxOutcome) => void): void
  readonly failing: string | null
}

export interface DispatchOptions {
  readonly journal: DispatchJournal
  readonly teller: FactTeller
  /** A copy for those who watch on site. */
  readonly show: (device: DeviceAddress, payload: Uint8Array) => void
  readonly bootId: string
  readonly now: () => Now
}

/** A command as it is taken in. */
export interface Arrived {
  readonly position: number
  readonly commandId: string
  readonly siteId: number
  readonly serialNumber: string
  readonly expiresAtMs: number
  readonly timeoutMs: number
}

export const NO_ENDINGS: Readonly<Record<Outcome, number>> = { ANSWERED: 0, TIMED_OUT: 0, EXPIRED: 0, CANCELLED: 0 }

export class CommandDispatch implements CommandRouteEvents {
  private readonly options: DispatchOptions
  private readonly entries = new Map<string, OpenEntry>()
  private readonly lines = new Map<string, DeviceLine>()
  private readonly loose = new LooseIds()
  private readonly phases = new Map<CommandLife['phase'], number>()
  /** Since the start. */
  readonly endings: Record<Outcome, number> = { ...NO_ENDINGS }
  deliveries = 0

  constructor(options: DispatchOptions) {
    this.options = options
  }

  /** Commands that are not finished. */
  get size(): number {
    return this.entries.size
  }

  /** Commands that ended since the start. */
  get endedCount(): number {
    return Object.values(this.endings).reduce((sum, count) => sum + count, 0)
  }

  count(...phases: readonly CommandLife['phase'][]): number {
    return phases.reduce((sum, phase) => sum + (this.phases.get(phase) ?? 0), 0)
  }

  has(commandId: string): boolean {
    return this.entries.has(commandId)
  }

  /** Takes up what an earlier run left. */
  restore(image: InboxImage): void {
    const { teller, bootId } = this.options
    const now = this.options.now()
    for (const each of image.loose) this.loose.add(each)
    const byPosition = new Map<number, OpenEntry>()
    for (const command of image.commands)
      byPosition.set(command.position, this.add(command, lifeOf(command.row, bootId, now)))
    for (const { position, ...fact } of image.facts) {
      const entry = byPosition.get(position)
      if (entry !== undefined) teller.tell(storedFact(entry, fact))
    }
    this.resume()
  }

  /** A command that is on disk and of which nothing went to its device. */
  admit(command: Arrived): void {
    this.advance(this.add(command, WAITING).line)
  }

  /** Forgets everything: the disk did. Facts that are known are still told. */
  clear(): void {
    this.entries.clear()
    this.phases.clear()
    this.loose.clear()
    for (const line of [...this.lines.values()]) {
      line.current = null
      line.waiting.clear()
      this.dropIdle(line)
    }
  }

  cancel(commandIds: readonly string[]): void {
    for (const id of commandIds) {
      const entry = this.entries.get(id)
      if (entry !== undefined) this.feed(entry, { kind: 'cancel' })
    }
  }

  /** Ends what is overdue. */
  tick(): void {
    const now = this.options.now()
    for (const entry of this.entries.values()) if (isDue(entry.life, entry, now)) this.feed(entry, { kind: 'tick' })
  }

  /** Moves every line on: the time became known, or the disk works again. */
  resume(): void {
    for (const line of [...this.lines.values()]) this.advance(line)
  }

  opened(device: DeviceAddress, route: CommandRoute): void {
    const line = this.lineOf(device)
    if (line.route !== null) this.closed(device, line.route)
    line.route = route
    if (!route.durable) this.loose.forget(route.clientId)
    this.lines.set(keyOf(device), line)
    this.advance(line)
  }

  closed(device: DeviceAddress, route: CommandRoute): void {
    const line = this.lines.get(keyOf(device))
    if (line?.route !== route) return
    line.route = null
    if (line.current !== null) this.feed(line.current, { kind: 'closed' })
    this.dropIdle(line)
  }

  received(device: DeviceAddress, route: CommandRoute, packetId: number): void {
    this.handshake(device, route, { kind: 'received', packetId })
  }

  completed(device: DeviceAddress, route: CommandRoute, packetId: number): void {
    this.handshake(device, route, { kind: 'completed', packetId })
  }

  answered(device: DeviceAddress, payload: Uint8Array): void {
    if (this.entries.size === 0) return
    const id = answeredCommand(payload)
    const entry = id === null ? undefined : this.entries.get(id)
    // A device speaks for itself only.
    if (entry === undefined || keyOf(entry.line.device) !== keyOf(device)) return
    this.feed(entry, { kind: 'answered' })
    if (isAnswered(entry.life)) this.options.teller.withdraw(entry.position)
  }

  /** The spool has the fact: from here on the command's end stands. */
  handedOver({ commandId, state }: StoredFact): void {
    const entry = this.entries.get(commandId)
    if (entry !== undefined && state !== 'DELIVERED') this.feed(entry, { kind: 'told' })
  }

  private handshake(device: DeviceAddress, route: CommandRoute, input: LifeInput): void {
    const line = this.lines.get(keyOf(device))
    if (line?.route === route && line.current !== null) this.feed(line.current, input)
  }

  private add(command: Arrived, life: CommandLife): OpenEntry {
    const { position, commandId, siteId, serialNumber, expiresAtMs, timeoutMs } = command
    const line = this.lineOf({ siteId, serialNumber })
    const entry: OpenEntry = { position, commandId, expiresAtMs, timeoutMs, line, life, step: 0 }
    this.entries.set(commandId, entry)
    this.countPhase(life.phase, 1)
    if (isOver(life)) return entry
    this.lines.set(keyOf(line.device), line)
    if (life.phase !== 'waiting' && line.current === null) line.current = entry
    else line.waiting.add(entry)
    return entry
  }

  private lineOf(device: DeviceAddress): DeviceLine {
    return this.lines.get(keyOf(device)) ?? new DeviceLine({ siteId: device.siteId, serialNumber: device.serialNumber })
  }

  private dropIdle(line: DeviceLine): void {
    if (line.isIdle) this.lines.delete(keyOf(line.device))
  }

  /** Offers the route to the command whose turn it is; the next one follows when that one is over. */
  private advance(line: DeviceLine): void {
    if (line.advancing) return
    line.advancing = true
    // Nothing is begun that the disk could not follow.
    while (line.route !== null && this.options.journal.failing === null) {
      const { route } = line
      const head = line.head()
      if (head === null) break
      const packetId = head.life.phase === 'waiting' ? this.loose.newPacketId(route) : 0
      const { clientId, durable, qos } = route
      this.feed(head, { kind: 'opened', clientId, durable, qos, packetId })
      if (line.current === head) break
    }
    line.advancing = false
    this.dropIdle(line)
  }

  private feed(entry: OpenEntry, input: LifeInput): void {
    const before = entry.life
    const { life, effects } = transition(before, input, entry, this.options.now())
    if (life !== before) {
      entry.life = life
      this.countPhase(before.phase, -1)
      this.countPhase(life.phase, 1)
      if (life.phase === 'delivered') this.deliveries++
    }
    for (const effect of effects) this.perform(entry, effect)
    if (isOver(life) && !isOver(before)) this.over(entry)
    if (life.phase === 'ended' && before.phase !== 'ended') this.ended(entry, life.outcome)
  }

  private perform(entry: OpenEntry, effect: LifeEffect): void {
    const { line } = entry
    if (effect.kind === 'release') line.route?.release(effect.packetId)
    else if (effect.kind === 'store') this.store(entry, effect.fact ?? null)
    else this.publish(entry, effect)
  }

  private store(entry: OpenEntry, fact: LifeFact | null): void {
    const { journal, bootId, now } = this.options
    const { position, life } = entry
    const step = ++entry.step
    const fetch = life.phase === 'claiming' || life.phase === 'repeating'
    const row = rowOf(life, bootId, now())
    journal.append({ kind: 'step', position, row, fact, fetch }, (outcome) => {
      if (this.entries.get(entry.commandId) !== entry) return
      if (fact !== null && !isAnswered(entry.life)) this.options.teller.tell(storedFact(entry, fact))
      if (step === entry.step) this.feed(entry, { kind: 'stored', payload: outcome.payload ?? null })
    })
  }

  private publish(entry: OpenEntry, { packetId, payload, dup }: Extract<LifeEffect, { kind: 'publish' }>): void {
    const { line } = entry
    if (line.route?.publish(packetId, payload, dup) === true) {
      if (!dup) this.options.show(line.device, payload)
      return
    }
    // The broker will say so too; until then nothing more is tried there.
    line.route = null
    this.feed(entry, dup ? { kind: 'closed' } : { kind: 'unwritten' })
  }

  private over(entry: OpenEntry): void {
    const { line, life } = entry
    if (life.phase === 'ending' && life.loose !== null) this.loose.add(life.loose)
    line.leave(entry)
    this.advance(line)
  }

  private ended(entry: OpenEntry, outcome: Outcome): void {
    this.entries.delete(entry.commandId)
    this.countPhase('ended', -1)
    this.endings[outcome]++
  }

  private countPhase(phase: CommandLife['phase'], change: 1 | -1): void {
    this.phases.set(phase, (this.phases.get(phase) ?? 0) + change)
  }
}

function storedFact({ position, commandId, line }: OpenEntry, fact: LifeFact): StoredFact {
  return { ...fact, position, commandId, ...line.device }
}

function keyOf({ siteId, serialNumber }: DeviceAddress): string {
  return `${siteId} ${serialNumber}`
}
