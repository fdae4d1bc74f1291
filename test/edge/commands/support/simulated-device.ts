/**
 * A device in the simulation: an MQTT client that takes commands with some QoS, acts on the PUBLISH or on PUBREL as
 * clients do, keeps its session or not, answers in time, late, twice or never. Its connection delays and loses frames.
 */

import type { CommandRoute, DeviceAddress } from '../../../../edge/broker/command-outlet.ts'
import type { Random } from '../../../../shared/random.ts'

export interface DeviceHost {
  /** True cloud time. */
  now(): number
  opened(device: SimulatedDevice, route: CommandRoute): void
  closed(device: SimulatedDevice, route: CommandRoute): void
  received(device: SimulatedDevice, route: CommandRoute, packetId: number): void
  completed(device: SimulatedDevice, route: CommandRoute, packetId: number): void
  answered(device: SimulatedDevice, payload: Uint8Array): void
  /** Called for every frame that the edge writes. */
  publishing(device: SimulatedDevice, commandId: string, dup: boolean): void
  releasing(session: string, packetId: number): void
  ran(device: SimulatedDevice, commandId: string): void
}

type Frame =
  | { readonly kind: 'publish'; readonly packetId: number; readonly commandId: string; readonly qos: number }
  | { readonly kind: 'pubrel' | 'pubrec' | 'pubcomp' | 'puback'; readonly packetId: number }

/** Few, so that identifiers come again while an old one is still held. */
const PACKET_IDS = 12

export class SimulatedDevice {
  readonly address: DeviceAddress
  readonly qos: 0 | 1 | 2
  /** Acts when PUBLISH comes, as some embedded clients do, instead of when PUBREL comes. */
  readonly eager: boolean
  private readonly random: Random
  private readonly host: DeviceHost
  private durable: boolean
  private session = ''
  private route: CommandRoute | null = null
  private toDevice: Frame[] = []
  private toEdge: Frame[] = []
  /** Its QoS 2 handshakes: packet id → command. */
  private incoming = new Map<number, string>()
  private readonly answers: { readonly payload: string; readonly dueMs: number }[] = []

  constructor(index: number, random: Random, host: DeviceHost) {
    this.random = random
    this.host = host
    this.address = { siteId: 1, serialNumber: `D-${index}` }
    const kind = random.fraction()
    this.qos = kind < 0.8 ? 2 : kind < 0.9 ? 1 : 0
    this.eager = random.fraction() < 0.4
    this.durable = random.fraction() < 0.6
  }

  get isConnected(): boolean {
    return this.route !== null
  }

  connect(): void {
    if (this.route !== null) return
    // Now and then one is configured otherwise, or its broker forgot its session.
    const changed = this.random.fraction() < 0.05
    if (changed) this.durable = !this.durable
    if (changed || !this.durable || this.session === '' || this.random.fraction() < 0.05) {
      this.session = Buffer.from(this.random.bytes(6)).toString('hex')
      this.incoming.clear()
    }
    const { durable, session, qos } = this
    let nextId = Math.floor(this.random.fraction() * PACKET_IDS)
    const isOpen = () => this.route === route
    const route: CommandRoute = {
      clientId: this.address.serialNumber,
      durable,
      session,
      qos,
      newPacketId: () => (nextId++ % PACKET_IDS) + 1,
      publish: (packetId, payload, dup) => {
        if (!isOpen() || this.random.fraction() < 0.03) return false
        const { commandId } = JSON.parse(Buffer.from(payload).toString())
        this.host.publishing(this, commandId, dup)
        this.toDevice.push({ kind: 'publish', packetId, commandId, qos })
        return true
      },
      release: (packetId) => {
        if (!isOpen()) return
        this.host.releasing(session, packetId)
        this.toDevice.push({ kind: 'pubrel', packetId })
      },
    }
    this.route = route
    this.host.opened(this, route)
  }

  /** @param told false when the gateway itself went away, so that nobody is there to hear of it. */
  disconnect(told = true): void {
    const { route } = this
    if (route === null) return
    this.route = null
    this.toDevice = []
    this.toEdge = []
    if (told) this.host.closed(this, route)
  }

  /** Moves one frame, in either direction, or gives one answer that is due; false when there is nothing to do. */
  move(): boolean {
    const { route } = this
    if (route === null) return false
    const choices: (() => void)[] = []
    if (this.toDevice.length > 0) choices.push(() => this.take(this.toDevice.shift() as Frame))
    if (this.toEdge.length > 0) choices.push(() => this.told(route, this.toEdge.shift() as Frame))
    const due = this.answers.findIndex(({ dueMs }) => dueMs <= this.host.now())
    if (due >= 0) {
      choices.push(() => {
        const [answer] = this.answers.splice(due, 1)
        this.host.answered(this, Buffer.from(answer?.payload ?? ''))
      })
    }
    choices[Math.floor(this.random.fraction() * choices.length)]?.()
    return choices.length > 0
  }

  private told(route: CommandRoute, frame: Frame): void {
    if (frame.kind === 'pubrec') this.host.received(this, route, frame.packetId)
    else this.host.completed(this, route, frame.packetId)
  }

  private take(frame: Frame): void {
    const { packetId } = frame
    if (frame.kind === 'publish') {
      if (frame.qos === 2) this.takeQos2(packetId, frame.commandId)
      else this.run(frame.commandId)
      if (frame.qos === 1) this.toEdge.push({ kind: 'puback', packetId })
      return
    }
    const commandId = this.incoming.get(packetId)
    this.incoming.delete(packetId)
    if (commandId !== undefined && !this.eager) this.run(commandId)
    this.toEdge.push({ kind: 'pubcomp', packetId })
  }

  private takeQos2(packetId: number, commandId: string): void {
    const held = this.incoming.get(packetId)
    if (held !== undefined && held !== commandId)
      throw new Error(`${commandId} went out under the identifier of ${held}`)
    if (held === undefined) {
      this.incoming.set(packetId, commandId)
      if (this.eager) this.run(commandId)
    }
    this.toEdge.push({ kind: 'pubrec', packetId })
  }

  private run(commandId: string): void {
    this.host.ran(this, commandId)
    const kind = this.random.fraction()
    if (kind < 0.1) return
    const status = kind < 0.8 ? 'SUCCESS' : 'FAILED'
    const payload = kind < 0.15 ? `{"commandId":"${commandId}","status":"?"}` : JSON.stringify({ commandId, status })
    const delayMs = this.random.fraction() * (kind > 0.9 ? 200_000 : 2_000)
    const times = this.random.fraction() < 0.1 ? 2 : 1
    for (let n = 0; n < times; n++) this.answers.push({ payload, dueMs: this.host.now() + delayMs * (n + 1) })
  }
}
