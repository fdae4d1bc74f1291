/**
 * The registry: which sites, gateways and devices there are. Ingest asks it for every record, so what it met lately is
 * answered from memory; the API lists and changes it.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { DeviceKey, RegisteredDevice, StatusChange, StatusTies } from './device.ts'
import { DeviceCache } from './device-cache.ts'
import { DeviceSelection } from './device-selection.ts'
import { DeviceStatusStore, type StoredStatus } from './device-status-store.ts'
import { DeviceStore } from './device-store.ts'
import { GatewayReports } from './gateway-reports.ts'
import { GatewaySites } from './gateway-sites.ts'
import { type GatewayBacklog, type GatewayGap, type GatewayHello, GatewayStore } from './gateway-store.ts'
import { SiteStore } from './site-store.ts'

export const DEVICE_TYPE_PREFIXES: Readonly<Record<string, string>> = {
  INV: 'SOLAR_INVERTER',
  MTR: 'METER',
  METER: 'METER',
}

export interface RegistryOptions {
  readonly database: DatabaseHandle
  /** Register a device when its first record arrives. */
  readonly autoRegister: boolean
  /** Register a gateway when it first connects. */
  readonly autoRegisterGateways: boolean
  /** Type of a device that registers itself, by the beginning of its serial number; the longest one counts. */
  readonly deviceTypePrefixes?: Readonly<Record<string, string>>
  /** How long what another core changed may go unseen. Default 30,000. */
  readonly cacheMs?: number
  /** Devices kept in memory, about 300 bytes each. Default 200,000. */
  readonly cacheDevicesMax?: number
  /** How often what was heard of gateways is written. Default 2,000. */
  readonly reportPeriodMs?: number
  /** A gateway that was not heard of for longer is shown as not connected. Default 60,000. */
  readonly gatewaySilentAfterMs?: number
  readonly clock: Clock
  readonly log: Logger
}

export class Registry implements Part {
  readonly name = 'registry'
  readonly sites: SiteStore
  readonly gateways: GatewayStore
  readonly gatewaySites: GatewaySites
  readonly devices: DeviceStore
  /** Many devices at once, for commands. */
  readonly selection: DeviceSelection
  private readonly options: RegistryOptions
  private readonly statuses: DeviceStatusStore
  private readonly cache: DeviceCache
  private readonly reports: GatewayReports

  constructor(options: RegistryOptions) {
    const { database, clock, log } = options
    const {
      cacheMs = 30_000,
      cacheDevicesMax = 200_000,
      reportPeriodMs = 2_000,
      gatewaySilentAfterMs = 60_000,
    } = options
    const { deviceTypePrefixes = DEVICE_TYPE_PREFIXES } = options
    this.options = options
    this.cache = new DeviceCache({ cacheMs, entriesMax: cacheDevicesMax })
    this.sites = new SiteStore({ database, clock })
    this.gateways = new GatewayStore({ database, clock, silentAfterMs: gatewaySilentAfterMs })
    this.gatewaySites = new GatewaySites({ database, clock })
    const onUpdated = (deviceId: number) => this.cache.forgetDevice(deviceId)
    this.devices = new DeviceStore({ database, clock, deviceTypePrefixes, onUpdated })
    this.statuses = new DeviceStatusStore({ database, clock })
    this.selection = new DeviceSelection({ database })
    this.reports = new GatewayReports({ store: this.gateways, clock, log, periodMs: reportPeriodMs })
  }

  async start(): Promise<void> {
    this.reports.start()
  }

  /** Stop it before the database: it writes what is pending. */
  async stop(): Promise<void> {
    await this.reports.stop()
  }

  /** The device when it is in memory; null says only that `load` must be asked. */
  resolve(gatewayId: string, siteId: number, serialNumber: string): RegisteredDevice | null {
    return this.cache.get(gatewayId, siteId, serialNumber, this.options.clock.monotonicMs())
  }

  /**
   * The devices in the order of `keys`, from memory or the database; those that are new are registered when that is
   * allowed. Null means that the device is not registered: this answer counts, not a later `resolve`, whose memory may
   * have moved on.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  async load(gatewayId: string, keys: readonly DeviceKey[]): Promise<(RegisteredDevice | null)[]> {
    const found = new Map<string, RegisteredDevice>()
    const missing = new Map<string, DeviceKey>()
    for (const key of keys) {
      const known = this.resolve(gatewayId, key.siteId, key.serialNumber)
      if (known === null) missing.set(textOf(key), key)
      else found.set(textOf(key), known)
    }
    await this.find(gatewayId, missing, found)
    if (missing.size > 0 && this.options.autoRegister) {
      await this.devices.register(gatewayId, [...missing.values()])
      this.options.log.info({ gatewayId, devices: missing.size, first: [...missing.keys()][0] }, 'devices registered')
      await this.find(gatewayId, missing, found)
    }
    return keys.map((key) => found.get(textOf(key)) ?? null)
  }

  /** Moves what the database has from `missing` to `found`. */
  private async find(
    gatewayId: string,
    missing: Map<string, DeviceKey>,
    found: Map<string, RegisteredDevice>,
  ): Promise<void> {
    if (missing.size === 0) return
    const stored = await this.devices.find([...missing.values()])
    const moved = stored.filter((device) => device.gatewayId !== gatewayId).map((device) => device.deviceId)
    if (moved.length > 0) await this.devices.moveTo(gatewayId, moved)
    const nowMs = this.options.clock.monotonicMs()
    for (const device of stored) {
      found.set(textOf(device), this.cache.put(gatewayId, device, nowMs))
      missing.delete(textOf(device))
    }
  }

  /**
   * What was known of a gateway's devices is read afresh. To be called when a gateway is admitted, because it may come
   * from another core that knows later statuses, and when a transaction with statuses applied here failed.
   */
  forgetGateway(gatewayId: string): void {
    this.cache.forgetGateway(gatewayId)
  }

  /** Writes statuses and, once they are durable, answers with them. */
  async setStatuses(changes: readonly StatusChange[]): Promise<void> {
    if (changes.length === 0) return
    await this.options.database.transaction((transaction) => this.writeStatuses(changes, transaction))
    this.applyStatuses(changes)
  }

  /** The durable half of `setStatuses`, inside the caller's transaction; memory does not know of it. */
  async writeStatuses(
    changes: readonly StatusChange[],
    transaction: Transaction<Database>,
    ties: StatusTies = 'replace',
  ): Promise<void> {
    await this.statuses.write(changes, ties, transaction)
  }

  /** The half in memory: from now on `resolve` answers with these statuses. */
  applyStatuses(changes: readonly StatusChange[]): void {
    for (const change of changes) this.cache.apply(change)
  }

  /** The statuses as the database has them now, whichever core wrote them; devices that are not there are left out. */
  async storedStatuses(deviceIds: readonly number[]): Promise<ReadonlyMap<number, StoredStatus>> {
    return this.statuses.find(deviceIds)
  }

  /** Notes, in the caller's transaction, that these devices said their status again: they are there. */
  async noteRepeated(deviceIds: readonly number[], transaction: Transaction<Database>): Promise<void> {
    await this.statuses.noteRepeated(deviceIds, transaction)
  }

  /** @throws BusbarError GATEWAY_NOT_REGISTERED, DATABASE_UNAVAILABLE */
  async gatewayConnected(hello: GatewayHello): Promise<void> {
    await this.gateways.connected(hello, this.options.autoRegisterGateways)
    this.forgetGateway(hello.gatewayId)
  }

  async gatewayDisconnected(gatewayId: string, sessionId: string): Promise<void> {
    await this.gateways.disconnected(gatewayId, sessionId)
  }

  /** To be called whenever anything is heard of a gateway; cheap, written later. */
  gatewaySeen(gatewayId: string): void {
    this.reports.note(gatewayId, null)
  }

  /** What the gateway says it still holds; written later. */
  gatewayBacklog(gatewayId: string, backlog: GatewayBacklog): void {
    this.reports.note(gatewayId, backlog)
  }

  /** Durable when it resolves; idempotent. `transaction` joins it to the caller's. */
  async recordGap(gap: GatewayGap, transaction?: Transaction<Database>): Promise<void> {
    await this.gateways.recordGap(gap, transaction)
  }

  stats(): { readonly cachedDevices: number } {
    return { cachedDevices: this.cache.size }
  }
}

function textOf({ siteId, serialNumber }: DeviceKey): string {
  return `${siteId}/${serialNumber}`
}
