/**
 * Leads the open commands through their lives: asks `command-life.ts` what follows from what happened, and has it done, on
 * disk, on the routes of the devices and through the teller of facts. It waits for nothing and reads no disk.
 */

import type { CommandRoute, CommandRouteEvents, DeviceAddress } from '../broker/command-outlet.ts'
import { transition } from './command-life.ts'
import { answeredCommand } from './command-payload.ts'
import { DeviceLine, type OpenEntry } from './device-line.ts'
import type { FactTeller, StoredFact } from './fact-teller.ts'
import { HeldIds } from './held-ids.ts'
import type { InboxImage } from './inbox-image.ts'
import type { InboxChange, InboxOutcome } from './inbox-tables.ts'
import { lifeOf, rowOf } from './life-row.ts'
import { type CommandLife, handshakeOf, isAnswered, isDue, isOver, type Now, WAITING } from './life-state.ts'
import type { LifeEffect, LifeFact, LifeInput } from './life-step.ts'
import { TICK_ENDINGS_MAX } from './limits.ts'
import { Tally } from './tally.ts'

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

export class CommandDispatch implements CommandRouteEvents {
  private readonly options: DispatchOptions
  private readonly entries = new Map<string, OpenEntry>()
  private readonly lines = new Map<string, DeviceLine>()
  private readonly ids = new HeldIds()
  private restored = false
  /** Facts on their way to the disk, which are told when they are there. */
  private factsStoring = 0
  readonly tally = new Tally()

  constructor(options: DispatchOptions) {
    this.options = options
  }

  /** Commands that are not finished. */
  get size(): number {
    return this.entries.size
  }

  /** Facts that the spool does not have. */
  get untold(): number {
    return this.factsStoring + this.options.teller.untold
  }

  has(commandId: string): boolean {
    return this.entries.has(commandId)
  }

  /** Takes up what an earlier run left. */
  restore(image: InboxImage): void {
    const { teller, bootId } = this.options
    const now = this.options.now()
    this.restored = true
    for (const each of image.loose) this.ids.keep(each)
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
    this.tally.clear()
    this.ids.clear()
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

  /** Ends what is overdue, and begins what could not be begun for want of a packet identifier. */
  tick(): void {
    const now = this.options.now()
    let left = TICK_ENDINGS_MAX
    for (const entry of this.entries.values()) {
      if (!isDue(entry.life, entry, now)) continue
      this.feed(entry, { kind: 'tick' })
      if (--left === 0) break
    }
    this.resume()
  }

  /** Moves every line on: the time became known, or the disk works again. */
  resume(): void {
    for (const line of [...this.lines.values()]) this.advance(line)
  }

  opened(device: DeviceAddress, route: CommandRoute): void {
    const line = this.lineOf(device)
    if (line.route !== null) this.closed(device, line.route)
    line.route = route
    this.ids.opened(route)
    this.advance(line)
  }

  closed(device: DeviceAddress, route: CommandRoute): void {
    const line = this.lines.get(keyOf(device))
    if (line?.route !== route) return
    line.route = null
    if (line.current !== null) this.feed(line.current, { kind: 'closed' })
    this.ids.closed(route)
    this.dropIdle(line)
  }

  received(_device: DeviceAddress, route: CommandRoute, packetId: number): void {
    const { session } = route
    const holder = this.ids.holderOf(session, packetId)
    // Nobody knows it any more, so the client may let go of it [MQTT-4.3.3-1]. Before the disk was read nobody can say that.
    if (holder === undefined && this.restored) route.release(packetId)
    // What was reported as over must not run; what waits for its own route is sent again there, and PUBREC comes again.
    else if (holder?.line.route?.session === session) this.feed(holder, { kind: 'received', session, packetId })
  }

  completed(_device: DeviceAddress, { session }: CommandRoute, packetId: number): void {
    const holder = this.ids.holderOf(session, packetId)
    if (holder?.line.route?.session === session) this.feed(holder, { kind: 'completed', session, packetId })
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

  private add(command: Arrived, life: CommandLife): OpenEntry {
    const { position, commandId, siteId, serialNumber, expiresAtMs, timeoutMs } = command
    const line = this.lineOf({ siteId, serialNumber })
    const entry: OpenEntry = { position, commandId, expiresAtMs, timeoutMs, line, life, step: 0 }
    const handshake = handshakeOf(life)
    // What is over is in the image as loose.
    if (handshake !== null && !isOver(life)) this.ids.hold(handshake, entry)
    this.entries.set(commandId, entry)
    this.tally.entered(life)
    if (isOver(life)) this.dropIdle(line)
    else if (life.phase !== 'waiting' && line.current === null) line.current = entry
    else line.waiting.add(entry)
    return entry
  }

  private lineOf(device: DeviceAddress): DeviceLine {
    const key = keyOf(device)
    const known = this.lines.get(key)
    if (known !== undefined) return known
    const line = new DeviceLine({ siteId: device.siteId, serialNumber: device.serialNumber })
    this.lines.set(key, line)
    return line
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
      const isNew = head.life.phase === 'waiting'
      // Nothing goes out while nobody can say whether it is too late.
      if (isNew && this.options.now().cloudMs === null) break
      const packetId = isNew ? this.ids.newPacketId(route) : 0
      if (packetId === null) break
      const { session, durable, qos } = route
      this.feed(head, { kind: 'opened', session, durable, qos, packetId })
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
      this.tally.moved(before, life)
      this.holdIds(entry, before, life)
    }
    for (const effect of effects) this.perform(entry, effect)
    if (isOver(life) && !isOver(before)) this.over(entry)
    if (life.phase === 'ended') this.entries.delete(entry.commandId)
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
    if (fact !== null) this.factsStoring++
    journal.append({ kind: 'step', position, row: rowOf(life, bootId, now()), fact, fetch }, (outcome) => {
      if (fact !== null) this.factsStoring--
      if (this.entries.get(entry.commandId) !== entry) return
      if (fact !== null && !isAnswered(entry.life)) this.options.teller.tell(storedFact(entry, fact))
      if (step === entry.step) this.feed(entry, { kind: 'stored', payload: outcome.payload ?? null })
    })
  }

  private publish(entry: OpenEntry, { packetId, payload, dup }: Extract<LifeEffect, { kind: 'publish' }>): void {
    const { line } = entry
    // The device may have subscribed anew with another QoS while the handshake was being stored.
    const agreed = line.route?.qos === handshakeOf(entry.life)?.qos
    if (agreed && line.route?.publish(packetId, payload, dup) === true) {
      if (!dup) this.options.show(line.device, payload)
      return
    }
    // The broker will say that the connection is gone; until then nothing more is tried there.
    if (agreed && line.route !== null) {
      this.ids.closed(line.route)
      line.route = null
    }
    this.feed(entry, dup ? { kind: 'closed' } : { kind: 'unwritten' })
    this.advance(line)
  }

  private over(entry: OpenEntry): void {
    const { line } = entry
    line.leave(entry)
    this.advance(line)
  }

  private holdIds(entry: OpenEntry, before: CommandLife, after: CommandLife): void {
    const was = handshakeOf(before)
    const is = handshakeOf(after)
    // What a command left open when it ended stays held.
    if (was !== null && is === null && after.phase !== 'ended') this.ids.free(was)
    if (is !== null && isOver(after)) this.ids.end(is)
    else if (is !== null && was === null) this.ids.hold(is, entry)
  }
}

function storedFact({ position, commandId, line }: OpenEntry, fact: LifeFact): StoredFact {
  return { ...fact, position, commandId, ...line.device }
}

function keyOf({ siteId, serialNumber }: DeviceAddress): string {
  return `${siteId} ${serialNumber}`
}
