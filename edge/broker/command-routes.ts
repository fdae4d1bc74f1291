/**
 * Which connection takes the commands of a device: one that subscribed to exactly the device's commands topic, as the device or
 * as a local client. The first stays the route until it ends; others wait, so that no device gets a command twice.
 */

import assert from 'node:assert/strict'
import { deviceTopic, parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { CommandLine, type CommandLineHost, isLive, Route } from './command-line.ts'
import type { CommandOutlet, CommandRouteEvents, DeviceAddress } from './command-outlet.ts'
import type { Connection } from './connection.ts'
import type { EngineClient } from './engine.ts'
import { COMMAND_PACKET_IDS } from './packet-ids.ts'
import type { Identity } from './topic-rules.ts'

const SESSION_NAME_BYTES = 8

/** What there is once the broker starts. */
export interface CommandRoutesEngine {
  /** Publishes with QoS 0 to those who are there. */
  publish(topic: string, payload: Buffer): void
  /** The name of the durable session of a client; null when it has none. */
  sessionOf(clientId: string): string | null
}

export class CommandRoutes implements CommandOutlet {
  private readonly random: Random
  private engine: CommandRoutesEngine | null = null
  /** By topic; the first is open or draining, the others wait. */
  private readonly routes = new Map<string, Route[]>()
  private host: CommandLineHost | null = null
  private closed = false

  constructor(random: Random) {
    this.random = random
  }

  // For the inbox.

  listen(events: CommandRouteEvents): void {
    assert(this.host === null, 'commands have one listener')
    this.host = { events, drained: (route) => this.drained(route) }
  }

  show({ siteId, serialNumber }: DeviceAddress, payload: Uint8Array): void {
    // A copy, since the engine delivers it in later turns.
    if (!this.closed) this.engine?.publish(deviceTopic(siteId, serialNumber, 'commands'), Buffer.from(payload))
  }

  // For the broker.

  attach(engine: CommandRoutesEngine): void {
    this.engine = engine
  }

  /** CONNACK was sent: what the session subscribed to before counts from now on. */
  accepted(connection: Connection): void {
    const subscriptions = Object.entries(connection.engineClient?.subscriptions ?? {})
    this.subscribed(
      connection,
      subscriptions.map(([topic, { qos }]) => ({ topic, qos })),
    )
  }

  /** @param filters with the QoS granted, above 2 where it was refused. */
  subscribed(connection: Connection, filters: readonly { readonly topic: string; readonly qos: number }[]): void {
    if (this.host === null || this.closed || !isLive(connection)) return
    for (const { topic, qos } of filters) {
      const parsed = parseDeviceTopic(topic)
      if (parsed?.channel !== 'commands' || qos > 2 || !receivesCommands(connection.identity)) continue
      const { siteId, serialNumber } = parsed
      this.add(connection, { siteId, serialNumber }, topic, qos as 0 | 1 | 2, this.host)
    }
  }

  unsubscribed(connection: Connection, filters: readonly string[]): void {
    const line = connection.commandLine
    if (line === null) return
    for (const filter of filters) {
      const route = line.routes.get(filter)
      if (route?.state === 'open' && route.inFlight > 0) route.state = 'draining'
      else if (route !== undefined && route.state !== 'draining') this.end(route)
    }
  }

  /** The connection is over for the protocol. */
  departed(connection: Connection): void {
    const line = connection.commandLine
    connection.commandLine = null
    for (const route of [...(line?.routes.values() ?? [])]) this.end(route)
  }

  answered(device: DeviceAddress, payload: Uint8Array): void {
    this.host?.events.answered(device, payload)
  }

  /** Ends all routes for good. */
  close(): void {
    this.closed = true
    for (const route of [...this.routes.values()].flat()) this.end(route)
  }

  private add(
    connection: Connection,
    device: DeviceAddress,
    topic: string,
    qos: 0 | 1 | 2,
    host: CommandLineHost,
  ): void {
    const known = connection.commandLine?.routes.get(topic)
    if (known !== undefined) {
      known.qos = qos
      if (known.state === 'draining') known.state = 'open'
      return
    }
    const routes = this.routes.get(topic) ?? []
    this.routes.set(topic, routes)
    connection.commandLine ??= this.makeLine(connection, host)
    const route = new Route(device, topic, qos, connection.commandLine)
    connection.commandLine.routes.set(topic, route)
    routes.push(route)
    this.openFirst(topic)
  }

  private makeLine(connection: Connection, host: CommandLineHost): CommandLine {
    const session = this.engine?.sessionOf(connection.clientId) ?? randomHex(this.random, SESSION_NAME_BYTES)
    return new CommandLine(connection, session, Math.floor(this.random.fraction() * COMMAND_PACKET_IDS), host)
  }

  private drained(route: Route): void {
    if (route.state === 'draining') this.end(route)
  }

  private end(route: Route): void {
    if (route.state === 'closed') return
    const wasOpen = route.state !== 'waiting'
    route.state = 'closed'
    route.line.routes.delete(route.topic)
    const routes = this.routes.get(route.topic) ?? []
    routes.splice(routes.indexOf(route), 1)
    if (routes.length === 0) this.routes.delete(route.topic)
    if (wasOpen) this.host?.events.closed(route.device, route)
    this.openFirst(route.topic)
  }

  private openFirst(topic: string): void {
    const first = this.routes.get(topic)?.[0]
    if (first?.state !== 'waiting' || this.closed) return
    first.state = 'open'
    this.host?.events.opened(first.device, first)
  }
}

/** Whether a message that the engine is about to deliver is a command for this very client, which the inbox delivers. */
export function isOwnCommand(identity: Identity | null, client: EngineClient, topic: string): boolean {
  if (!topic.endsWith('/commands') || !receivesCommands(identity)) return false
  return identity?.role === 'device' || client.subscriptions[topic] !== undefined
}

/** Others only watch. */
function receivesCommands(identity: Identity | null): boolean {
  return identity?.role === 'device' || identity?.role === 'local'
}
