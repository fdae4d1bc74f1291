/** Who is connected to this core, and what they last said of themselves. Kept in memory; the registry has it durably. */

import type { Clock } from '../../shared/clock.ts'

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

export class Gateways {
  private readonly registry: GatewayRegistry
  private readonly clock: Clock
  private readonly connected = new Map<string, Mutable<ConnectedGateway>>()

  constructor(options: {
    readonly registry: GatewayRegistry
    readonly clock: Clock
  }) {
    this.registry = options.registry
    this.clock = options.clock
  }

  /** Ordered by id; the values are of this moment and do not change. */
  connectedGateways(): ConnectedGateway[] {
    const gateways = [...this.connected.values()].map((gateway) => ({
      ...gateway,
    }))
    return gateways.sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1))
  }

  get connectedCount(): number {
    return this.connected.size
  }

  /** @throws BusbarError GATEWAY_NOT_REGISTERED, DATABASE_UNAVAILABLE */
  async arrived(arrival: GatewayArrival): Promise<void> {
    await this.registry.gatewayConnected(arrival)
    const nowMs = this.clock.wallMs()
    this.connected.set(arrival.gatewayId, {
      ...arrival,
      connectedAtMs: nowMs,
      lastSeenAtMs: nowMs,
      backlog: null,
      lagMs: null,
    })
  }

  /** Does nothing when the gateway has arrived anew since. Rejects when the registry cannot be written. */
  async left(gatewayId: string, sessionId: string): Promise<void> {
    if (this.connected.get(gatewayId)?.sessionId === sessionId) this.connected.delete(gatewayId)
    await this.registry.gatewayDisconnected(gatewayId, sessionId)
  }

  seen(gatewayId: string): void {
    const gateway = this.connected.get(gatewayId)
    if (gateway === undefined) return
    gateway.lastSeenAtMs = this.clock.wallMs()
    this.registry.gatewaySeen(gatewayId)
  }

  reported(gatewayId: string, backlog: GatewayBacklog): void {
    const gateway = this.connected.get(gatewayId)
    if (gateway !== undefined) gateway.backlog = backlog
    this.registry.gatewayBacklog(gatewayId, backlog)
  }

  /** @param newestWallMs gateway's wall clock of the newest block that was just acknowledged. */
  delivered(gatewayId: string, newestWallMs: number): void {
    const gateway = this.connected.get(gatewayId)
    if (gateway !== undefined) gateway.lagMs = Math.max(0, this.clock.wallMs() + gateway.clockOffsetMs - newestWallMs)
  }
}
