/**
 * Who is connected to this core, what they last said of themselves, and the way down to them. Kept in memory; the registry
 * has it durably, and the leases say which core has whom.
 */

import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { GatewayLeases } from './gateway-leases.ts'

export { CommandDispatcher } from './command-dispatcher.ts'
export * from './command-state.ts'
export * from './device-command.ts'
export { DeviceCommands } from './device-commands.ts'

export interface ConnectedGateway {
  readonly gatewayId: string
  /** Names this uplink session. */
  readonly sessionId: string
  readonly epoch: string
  readonly softwareVersion: string
  readonly bootId: string
  /** Our wall clock, Unix milliseconds. */
  readonly connectedAtMs: number
  /** When anything was last heard of it. */
  readonly lastSeenAtMs: number
  /** Gateway's wall clock less ours at Hello, milliseconds. */
  readonly clockOffsetMs: number
  /** What it still holds, as it last said; null before its first report. */
  readonly backlog: GatewayBacklog | null
  /** Age of the newest published block when it was acknowledged, by both clocks corrected; null before the first. */
  readonly lagMs: number | null
}

export interface GatewayBacklog {
  readonly records: number
  readonly bytes: number
  /** Gateway's wall clock of the oldest record; null when there is none. */
  readonly oldestMs: number | null
}

export type GatewayArrival = Pick<
  ConnectedGateway,
  'gatewayId' | 'sessionId' | 'epoch' | 'softwareVersion' | 'bootId' | 'clockOffsetMs'
>

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Where presence is kept beyond this process; the registry's methods of the same names. */
export interface GatewayRegistry {
  /** @throws BusbarError GATEWAY_NOT_REGISTERED, DATABASE_UNAVAILABLE */
  gatewayConnected(arrival: GatewayArrival): Promise<void>
  gatewayDisconnected(gatewayId: string, sessionId: string): Promise<void>
  gatewaySeen(gatewayId: string): void
  gatewayBacklog(gatewayId: string, backlog: GatewayBacklog): void
}

/** The way down an uplink session. Nothing is promised: what is not receipted is handed over again. */
export interface Downlink {
  /** At most 500 commands and about 256 KiB a call. */
  sendCommands(commands: readonly Command[]): void
  cancelCommands(commandIds: readonly string[]): void
  /** Ends the uplink session for this reason; may be called more than once. */
  end(reason: string): void
}

/** What a gateway answers to commands that were handed over. */
export interface GatewayReceipts {
  /** Ids that are on its disk, or were known from before. */
  readonly stored: readonly string[]
  /** Ids that it did not take; to be handed over again later. */
  readonly refused: readonly string[]
}

/** An uplink session of this core on which commands can go down. */
export interface OpenSession {
  readonly gatewayId: string
  readonly sessionId: string
  readonly downlink: Downlink
}

/** Who hands commands over. */
export interface SessionListener {
  opened(session: OpenSession): void
  receipted(gatewayId: string, sessionId: string, receipts: GatewayReceipts): void
}

export interface GatewaysOptions {
  readonly registry: GatewayRegistry
  readonly database: DatabaseHandle
  /** Names this run of this core; no two may be the same. */
  readonly coreId: string
  /** How long a core that died still counts as the one that has its gateways, milliseconds. */
  readonly leaseMs: number
  readonly clock: Clock
  readonly log: Logger
}

interface Session {
  readonly gateway: Mutable<ConnectedGateway>
  /** Null until Welcome was sent. */
  downlink: Downlink | null
}

const TAKEN_OVER = 'another session of the gateway took over, on this core or on another core'

export class Gateways implements Part {
  readonly name = 'gateways'
  private readonly registry: GatewayRegistry
  private readonly clock: Clock
  private readonly leases: GatewayLeases
  private readonly sessions = new Map<string, Session>()
  private listener: SessionListener | null = null

  constructor(options: GatewaysOptions) {
    this.registry = options.registry
    this.clock = options.clock
    this.leases = new GatewayLeases({
      ...options,
      onLost: (gatewayId, sessionId) => this.lost(gatewayId, sessionId),
    })
  }

  /** Begins to renew leases. Gateways may arrive before. */
  async start(): Promise<void> {
    this.leases.start()
  }

  /** Gives every lease back; to be stopped after whoever takes streams in. */
  stop(): Promise<void> {
    return this.leases.stop()
  }

  /** One, before sessions open. */
  listen(listener: SessionListener): void {
    this.listener = listener
  }

  /** Ordered by id; the values are of this moment and do not change. */
  connectedGateways(): ConnectedGateway[] {
    const gateways = [...this.sessions.values()].map(({ gateway }) => ({ ...gateway }))
    return gateways.sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1))
  }

  get connectedCount(): number {
    return this.sessions.size
  }

  /** Sessions on which commands can go down at this moment. */
  openSessions(): OpenSession[] {
    const open: OpenSession[] = []
    for (const { gateway, downlink } of this.sessions.values()) {
      const { gatewayId, sessionId } = gateway
      if (downlink !== null) open.push({ gatewayId, sessionId, downlink })
    }
    return open
  }

  /** The core that has the gateway's session, of any core; null when none has, or it died longer than a lease ago. */
  coreOf(gatewayId: string): Promise<string | null> {
    return this.leases.coreOf(gatewayId)
  }

  /**
   * Takes the gateway for this session, from whichever session had it; that one is told to end.
   * @throws BusbarError GATEWAY_NOT_REGISTERED, DATABASE_UNAVAILABLE
   */
  async arrived(arrival: GatewayArrival): Promise<void> {
    await this.registry.gatewayConnected(arrival)
    await this.leases.take(arrival.gatewayId, arrival.sessionId)
    this.sessions.get(arrival.gatewayId)?.downlink?.end(TAKEN_OVER)
    const nowMs = this.clock.wallMs()
    this.sessions.set(arrival.gatewayId, {
      gateway: { ...arrival, connectedAtMs: nowMs, lastSeenAtMs: nowMs, backlog: null, lagMs: null },
      downlink: null,
    })
  }

  /** Welcome was sent: from now on commands may go down. Does nothing for a session that is not the newest any more. */
  opened(gatewayId: string, sessionId: string, downlink: Downlink): void {
    const session = this.sessions.get(gatewayId)
    if (session?.gateway.sessionId !== sessionId) {
      downlink.end(TAKEN_OVER)
      return
    }
    session.downlink = downlink
    this.listener?.opened({ gatewayId, sessionId, downlink })
  }

  /** Whatever the session: what is on the gateway's disk is there. */
  receipted(gatewayId: string, sessionId: string, receipts: GatewayReceipts): void {
    this.listener?.receipted(gatewayId, sessionId, receipts)
  }

  /** Does nothing when the gateway has arrived anew since. Rejects when the database cannot be written. */
  async left(gatewayId: string, sessionId: string): Promise<void> {
    if (this.sessions.get(gatewayId)?.gateway.sessionId === sessionId) this.sessions.delete(gatewayId)
    await this.leases.giveBack(gatewayId, sessionId)
    await this.registry.gatewayDisconnected(gatewayId, sessionId)
  }

  seen(gatewayId: string): void {
    const session = this.sessions.get(gatewayId)
    if (session === undefined) return
    session.gateway.lastSeenAtMs = this.clock.wallMs()
    this.registry.gatewaySeen(gatewayId)
  }

  reported(gatewayId: string, backlog: GatewayBacklog): void {
    const session = this.sessions.get(gatewayId)
    if (session !== undefined) session.gateway.backlog = backlog
    this.registry.gatewayBacklog(gatewayId, backlog)
  }

  /** @param newestWallMs gateway's wall clock of the newest block that was just acknowledged. */
  delivered(gatewayId: string, newestWallMs: number): void {
    const gateway = this.sessions.get(gatewayId)?.gateway
    if (gateway !== undefined) gateway.lagMs = Math.max(0, this.clock.wallMs() + gateway.clockOffsetMs - newestWallMs)
  }

  private lost(gatewayId: string, sessionId: string): void {
    const session = this.sessions.get(gatewayId)
    if (session?.gateway.sessionId !== sessionId) return
    this.sessions.delete(gatewayId)
    session.downlink?.end(TAKEN_OVER)
  }
}
