/**
 * The commands of one connection: whose it takes, and the handshakes under way. The MQTT engine sees none of these frames; it
 * would answer PUBREC with PUBREL before anyone could store that the device has the command.
 */

import type { CommandRoute, CommandRouteEvents, DeviceAddress } from './command-outlet.ts'
import type { Connection } from './connection.ts'
import { encodePublish, encodePubrel, PUBACK, PUBCOMP, PUBREC } from './mqtt-frames.ts'
import { COMMAND_PACKET_ID_MIN, COMMAND_PACKET_IDS } from './packet-ids.ts'

/** A delivery under way; it is forgotten with PUBACK, PUBCOMP, or the connection. */
interface Delivery {
  readonly route: Route
  readonly qos: 1 | 2
  released: boolean
}

/** What a line needs of the broker. */
export interface CommandLineHost {
  readonly events: CommandRouteEvents
  /** What the route had begun is finished, or given up; one that is draining ends. */
  drained(route: Route): void
}

export class CommandLine {
  readonly connection: Connection
  readonly session: string
  readonly host: CommandLineHost
  /** By topic. */
  readonly routes = new Map<string, Route>()
  private readonly inFlight = new Map<number, Delivery>()
  private nextIndex: number

  /** @param firstIndex where to begin giving identifiers, so that those of an earlier connection are not met at once. */
  constructor(connection: Connection, session: string, firstIndex: number, host: CommandLineHost) {
    this.connection = connection
    this.session = session
    this.nextIndex = firstIndex
    this.host = host
  }

  newPacketId(): number {
    if (this.inFlight.size >= COMMAND_PACKET_IDS) return 0
    for (;;) {
      const id = COMMAND_PACKET_ID_MIN + (this.nextIndex++ % COMMAND_PACKET_IDS)
      if (!this.inFlight.has(id)) return id
    }
  }

  publish(route: Route, packetId: number, payload: Uint8Array, dup: boolean): boolean {
    const { qos, topic } = route
    if (qos > 0) {
      if (packetId === 0) return false
      this.track(packetId, { route, qos: qos as 1 | 2, released: false })
    }
    this.connection.send(encodePublish({ topic, qos, packetId, payload, dup: dup && qos > 0 }))
    return true
  }

  release(route: Route, packetId: number): void {
    this.track(packetId, { route, qos: 2, released: true })
    this.connection.send(encodePubrel(packetId))
  }

  /** Takes an acknowledgement that belongs to a command; false leaves it to the engine. */
  take(bytes: Buffer, start: number, body: number, end: number): boolean {
    if (end - body !== 2) return false
    const packetId = bytes.readUInt16BE(body)
    const delivery = this.inFlight.get(packetId)
    switch (bytes[start]) {
      case PUBREC << 4:
        if (delivery === undefined) return this.takeUnknown(packetId)
        if (delivery.qos !== 2) return false
        this.host.events.received(delivery.route.device, delivery.route, packetId)
        return true
      case PUBCOMP << 4:
        return delivery?.released === true && this.complete(packetId, delivery)
      case PUBACK << 4:
        return delivery?.qos === 1 && this.complete(packetId, delivery)
      default:
        return false
    }
  }

  private track(packetId: number, delivery: Delivery): void {
    const before = this.inFlight.get(packetId)
    if (before !== undefined) before.route.inFlight--
    delivery.route.inFlight++
    this.inFlight.set(packetId, delivery)
  }

  private complete(packetId: number, { route }: Delivery): true {
    this.inFlight.delete(packetId)
    route.inFlight--
    this.host.events.completed(route.device, route, packetId)
    if (route.inFlight === 0) this.host.drained(route)
    return true
  }

  /**
   * PUBREC for what this connection did not send. A client may repeat it when its session comes back, before the command was
   * sent again. The inbox knows the session's identifiers; the engine answers those that commands never have.
   */
  private takeUnknown(packetId: number): boolean {
    if (packetId < COMMAND_PACKET_ID_MIN || this.routes.size === 0) return false
    for (const route of this.routes.values()) {
      if (route.state === 'waiting') continue
      this.host.events.received(route.device, route, packetId)
      break
    }
    // Where all routes wait, the command is sent again when one opens, and PUBREC follows.
    return true
  }
}

/** Whether the client still takes anything; after DISCONNECT it reads no more. */
export function isLive({ state, saidDisconnect }: Connection): boolean {
  return state === 'open' && !saidDisconnect
}

/**
 *     waiting ─▶ open ─▶ draining ─▶ closed
 *
 * `waiting` while another connection of the device is open; `draining` when the client unsubscribed amid a handshake, which is
 * still brought to its end [MQTT-3.10.4-3].
 */
export class Route implements CommandRoute {
  readonly device: DeviceAddress
  readonly topic: string
  readonly line: CommandLine
  qos: 0 | 1 | 2
  /** Deliveries under way. */
  inFlight = 0
  state: 'waiting' | 'open' | 'draining' | 'closed' = 'waiting'

  constructor(device: DeviceAddress, topic: string, qos: 0 | 1 | 2, line: CommandLine) {
    this.device = device
    this.topic = topic
    this.qos = qos
    this.line = line
  }

  get clientId(): string {
    return this.line.connection.clientId
  }

  get durable(): boolean {
    return this.line.connection.engineClient?.clean === false
  }

  get session(): string {
    return this.line.session
  }

  newPacketId(): number {
    return this.line.newPacketId()
  }

  publish(packetId: number, payload: Uint8Array, dup: boolean): boolean {
    if (this.state === 'open' && isLive(this.line.connection)) {
      return this.line.publish(this, packetId, payload, dup)
    }
    // Whoever sends the next command waits no longer for the one before; another connection may take it.
    if (this.state === 'draining') queueMicrotask(() => this.line.host.drained(this))
    return false
  }

  release(packetId: number): void {
    if (this.state !== 'closed') this.line.release(this, packetId)
  }
}
