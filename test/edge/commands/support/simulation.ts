/** Commands from a cloud to devices through an edge, with everything that may go wrong, and what must hold whatever does. */

import type { Command } from '../../../../proto/generated/busbar/edge/v1/uplink.ts'
import type { CommandFact } from '../../../../shared/command-fact.ts'
import type { Random } from '../../../../shared/random.ts'
import { seededRandom } from '../../../support/seeded-random.ts'
import { type DeviceHost, SimulatedDevice } from './simulated-device.ts'
import { SimulatedEdge } from './simulated-edge.ts'

const START_MS = Date.UTC(2026, 0, 1)
const HOUR_MS = 3_600_000

interface History {
  readonly command: Command
  receipted: boolean
  cancelled: boolean
  /** PUBLISH frames, without and with DUP. */
  published: number
  repeated: number
  ran: number
  /** Valid answers that reached the edge. */
  answers: number
  /** The answer came, and its step was not on disk when the process died or the fact was on its way. */
  mayBeBoth: boolean
  readonly facts: CommandFact[]
}

export interface SimulationTotals {
  commands: number
  crashes: number
  ends: Record<string, number>
  repeated: number
}

export class Simulation implements DeviceHost {
  private readonly random: Random
  private readonly edge: SimulatedEdge
  private readonly devices: SimulatedDevice[]
  private readonly histories = new Map<string, History>()
  private nowMs = START_MS
  private driftPpm = 0
  private chaos = true
  private readonly order = new Map<SimulatedDevice, number>()
  readonly totals: SimulationTotals = { commands: 0, crashes: 0, ends: {}, repeated: 0 }

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.edge = new SimulatedEdge(this.random, (fact) => this.told(fact))
    this.devices = Array.from({ length: 3 }, (_, index) => new SimulatedDevice(index, this.random, this))
    this.driftPpm = this.random.fraction() * 100
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) this.step()
    this.settle()
    this.judge()
  }

  now(): number {
    return this.nowMs
  }

  opened(device: SimulatedDevice, route: Parameters<DeviceHost['opened']>[1]): void {
    this.edge.dispatch.opened(device.address, route)
  }

  closed(device: SimulatedDevice, route: Parameters<DeviceHost['closed']>[1]): void {
    this.edge.dispatch.closed(device.address, route)
  }

  received(device: SimulatedDevice, route: Parameters<DeviceHost['received']>[1], packetId: number): void {
    this.edge.dispatch.received(device.address, route, packetId)
  }

  completed(device: SimulatedDevice, route: Parameters<DeviceHost['completed']>[1], packetId: number): void {
    this.edge.dispatch.completed(device.address, route, packetId)
  }

  answered(device: SimulatedDevice, payload: Uint8Array): void {
    const { commandId, status } = JSON.parse(Buffer.from(payload).toString())
    const history = this.of(commandId)
    const wasOpen = this.edge.dispatch.has(commandId)
    this.edge.dispatch.answered(device.address, payload)
    if (status === '?') return
    history.answers++
    if (!wasOpen) history.mayBeBoth = true
  }

  publishing(device: SimulatedDevice, commandId: string, dup: boolean): void {
    const history = this.of(commandId)
    const { command } = history
    check(this.nowMs <= command.expiresAtMs, `${commandId} went out ${this.nowMs - command.expiresAtMs} ms too late`)
    check(command.serialNumber === device.address.serialNumber, `${commandId} went to ${device.address.serialNumber}`)
    if (dup) history.repeated++
    else history.published++
    check(history.published <= 1, `${commandId} went out ${history.published} times without DUP`)
    check(!dup || device.qos === 2, `${commandId} was repeated with QoS ${device.qos}`)
    const others = this.rows(
      "serial_number = ? AND command_id <> ? AND phase IN ('published', 'received', 'delivered')",
      command.serialNumber,
      commandId,
    )
    check(others.length === 0, `${commandId} went out while ${others} was under way`)
    const [position = 0] = this.rows('command_id = ?', commandId).map(Number)
    check(position >= (this.order.get(device) ?? 0), `${commandId} overtook another`)
    this.order.set(device, position)
  }

  releasing(session: string, packetId: number): void {
    const open = this.rows("session = ? AND packet_id = ? AND phase = 'published'", session, packetId)
    check(open.length === 0, `PUBREL for ${open}, whose PUBREC is not on disk`)
  }

  ran(_device: SimulatedDevice, commandId: string): void {
    check(++this.of(commandId).ran === 1, `${commandId} ran twice`)
  }

  private step(): void {
    const { random, edge } = this
    const chance = random.fraction()
    this.pass(random.fraction() * (chance < 0.01 ? HOUR_MS : 400))
    if (chance < 0.12) this.issue()
    else if (chance < 0.16) this.hand(this.any([...this.histories.values()]))
    else if (chance < 0.18) this.cancel()
    else if (chance < 0.24) this.any(this.devices)?.connect()
    else if (chance < 0.28) this.any(this.devices)?.disconnect()
    else if (chance < 0.31) this.hello()
    else if (chance < 0.325) this.crash()
    else if (chance < 0.34) edge.setFailing(edge.journal.failing === null ? 'the disk refuses' : null)
    else if (chance < 0.35) edge.stepWall((random.fraction() - 0.5) * 1e12)
    else if (chance < 0.55) edge.journal.move()
    else if (chance < 0.65) edge.commitSpool()
    else this.any(this.devices)?.move()
  }

  /** Everything works, for long enough. */
  private settle(): void {
    this.chaos = false
    this.edge.setFailing(null)
    for (const history of this.histories.values()) if (!history.receipted) this.hand(history)
    for (let n = 0; n < 4000; n++) {
      if (n % 20 === 0) this.hello()
      for (const device of this.devices) {
        device.connect()
        device.move()
      }
      this.edge.journal.move()
      if (n % 3 === 0) this.edge.commitSpool()
      this.pass(n < 300 ? 100 : 5_000)
    }
  }

  private judge(): void {
    check(this.edge.dispatch.size === 0, `${this.edge.dispatch.size} commands never ended`)
    check(this.rows('position IN (SELECT position FROM facts)').length === 0, 'facts were never told')
    for (const { command, facts, answers, published, ran, mayBeBoth, cancelled } of this.histories.values()) {
      const id = command.commandId
      const ends = new Set(facts.map(({ state }) => state).filter((state) => state !== 'DELIVERED'))
      check(ends.size <= 1, `${id} ended as ${[...ends]}`)
      check(ends.size === 1 || answers > 0, `${id} has no end`)
      check(ends.size === 0 || answers === 0 || mayBeBoth, `${id} was answered and ended as ${[...ends]}`)
      if (ends.has('EXPIRED') || ends.has('CANCELLED'))
        check(published === 0 && ran === 0, `${id} went out and did not`)
      if (ends.has('CANCELLED')) check(cancelled, `${id} was cancelled by nobody`)
      const states = facts.map(({ state }) => state)
      const delivered = states.indexOf('DELIVERED')
      check(delivered <= 0 || states[0] === 'DELIVERED' || mayBeBoth, `${id}: ${states}`)
      this.totals.ends[ends.size === 0 ? 'ANSWERED' : String([...ends])] =
        (this.totals.ends[ends.size === 0 ? 'ANSWERED' : String([...ends])] ?? 0) + 1
    }
    this.totals.commands = this.histories.size
    this.totals.repeated = [...this.histories.values()].reduce((sum, { repeated }) => sum + repeated, 0)
    const rows = this.rows('true')
    check(rows.length === this.histories.size, `${rows.length} rows for ${this.histories.size} commands`)
  }

  private issue(): void {
    const { random } = this
    const index = this.histories.size
    const device = this.any(this.devices)
    if (device === undefined) return
    const command: Command = {
      commandId: `c${index}`,
      taskId: index % 2 === 0 ? '' : 't1',
      ...device.address,
      name: 'REBOOT',
      paramsJson: '',
      issuedAtMs: this.nowMs,
      expiresAtMs: Math.round(this.nowMs + random.fraction() * (random.fraction() < 0.5 ? 20_000 : 2 * HOUR_MS)),
      timeoutMs: Math.round(1_000 + random.fraction() * 60_000),
    }
    const history = {
      command,
      receipted: false,
      cancelled: false,
      published: 0,
      repeated: 0,
      ran: 0,
      answers: 0,
      mayBeBoth: false,
      facts: [],
    }
    this.histories.set(command.commandId, history)
    this.hand(history)
  }

  /** The cloud hands it over, or hands it over again although it need not. */
  private hand(history: History | undefined): void {
    if (history === undefined || this.edge.journal.failing !== null) return
    this.edge.receive(history.command, () => {
      history.receipted = true
    })
  }

  private cancel(): void {
    const history = this.any([...this.histories.values()])
    if (history === undefined) return
    history.cancelled = true
    this.edge.dispatch.cancel([history.command.commandId])
  }

  private hello(): void {
    const { random } = this
    const roundTripMs = random.fraction() * (this.chaos ? 5_000 : 10)
    const asked = random.fraction() * roundTripMs
    this.pass(asked)
    const cloudMs = this.nowMs
    this.pass(roundTripMs - asked)
    this.edge.learn(cloudMs, roundTripMs)
  }

  private crash(): void {
    this.totals.crashes++
    // What was answered while its step was on the way to the disk is forgotten.
    for (const history of this.histories.values()) if (history.answers > 0) history.mayBeBoth = true
    for (const device of this.devices) device.disconnect(false)
    const powerCut = this.random.fraction() < 0.4
    this.edge.crash(powerCut)
    if (powerCut) this.nowMs += this.random.fraction() * 600_000
  }

  private told(fact: CommandFact): void {
    this.of(fact.commandId).facts.push(fact)
  }

  private pass(ms: number): void {
    this.nowMs += ms
    this.edge.advance(ms, this.driftPpm / 1e6)
  }

  private of(commandId: string): History {
    const history = this.histories.get(commandId)
    if (history === undefined) throw new Error(`${commandId} is unknown`)
    return history
  }

  private any<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.random.fraction() * items.length)]
  }

  /** Positions of the rows on disk. */
  private rows(where: string, ...values: unknown[]): number[] {
    const found = this.edge.database.prepare(`SELECT position FROM commands WHERE ${where}`).all(...values)
    return (found as { position: number }[]).map(({ position }) => position)
  }
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}
