/**
 * The devices that ingest met lately. An entry answers for `cacheMs`, then the database is asked again, because
 * another core may have changed it.
 */

import type { DeviceKey, DeviceStatus, RegisteredDevice, StatusChange } from './device.ts'

/** A row as the database has it. */
export interface StoredDevice extends DeviceKey {
  readonly deviceId: number
  readonly deviceType: string
  readonly gatewayId: string | null
  readonly status: DeviceStatus | null
  readonly statusAtMs: number | null
}

interface Entry {
  readonly device: MutableDevice
  gatewayId: string
  expiresAtMs: number
}

type MutableDevice = { -readonly [K in keyof RegisteredDevice]: RegisteredDevice[K] }

export class DeviceCache {
  private readonly entriesMax: number
  private readonly cacheMs: number
  /** In the order in which they were last put. */
  private readonly byId = new Map<number, Entry>()
  private readonly bySite = new Map<number, Map<string, Entry>>()
  private readonly byGateway = new Map<string, Set<Entry>>()

  /** @param entriesMax at the limit the entry that was put longest ago goes. */
  constructor(options: { readonly entriesMax: number; readonly cacheMs: number }) {
    this.entriesMax = options.entriesMax
    this.cacheMs = options.cacheMs
  }

  get size(): number {
    return this.byId.size
  }

  /** The device, when it is known, fresh, and was last met at this gateway. */
  get(gatewayId: string, siteId: number, serialNumber: string, nowMs: number): RegisteredDevice | null {
    const entry = this.bySite.get(siteId)?.get(serialNumber)
    if (entry === undefined || entry.gatewayId !== gatewayId || nowMs >= entry.expiresAtMs) return null
    return entry.device
  }

  /** Takes over what the database has, except a status older than the one that was applied here. */
  put(gatewayId: string, stored: StoredDevice, nowMs: number): RegisteredDevice {
    const known = this.byId.get(stored.deviceId)
    const device = merged(known?.device, stored)
    if (known !== undefined) this.remove(known)
    else if (this.byId.size >= this.entriesMax) this.remove(this.byId.values().next().value as Entry)
    const entry: Entry = { device, gatewayId, expiresAtMs: nowMs + this.cacheMs }
    this.byId.set(device.deviceId, entry)
    const site = this.bySite.get(device.siteId) ?? new Map<string, Entry>()
    this.bySite.set(device.siteId, site.set(device.serialNumber, entry))
    const gateway = this.byGateway.get(gatewayId) ?? new Set<Entry>()
    this.byGateway.set(gatewayId, gateway.add(entry))
    return device
  }

  apply(change: StatusChange): void {
    const device = this.byId.get(change.deviceId)?.device
    if (device === undefined || (device.statusAtMs ?? 0) > change.atMs) return
    device.status = change.status
    device.statusAtMs = change.atMs
  }

  forgetDevice(deviceId: number): void {
    const entry = this.byId.get(deviceId)
    if (entry !== undefined) this.remove(entry)
  }

  forgetGateway(gatewayId: string): void {
    for (const entry of [...(this.byGateway.get(gatewayId) ?? [])]) this.remove(entry)
  }

  private remove(entry: Entry): void {
    const { deviceId, siteId, serialNumber } = entry.device
    this.byId.delete(deviceId)
    const site = this.bySite.get(siteId)
    site?.delete(serialNumber)
    if (site?.size === 0) this.bySite.delete(siteId)
    const gateway = this.byGateway.get(entry.gatewayId)
    gateway?.delete(entry)
    if (gateway?.size === 0) this.byGateway.delete(entry.gatewayId)
  }
}

function merged(known: MutableDevice | undefined, stored: StoredDevice): MutableDevice {
  const { deviceId, siteId, serialNumber, deviceType, status, statusAtMs } = stored
  if (known === undefined) return { deviceId, siteId, serialNumber, deviceType, status, statusAtMs }
  const device = known.deviceType === deviceType ? known : { ...known, deviceType }
  if ((known.statusAtMs ?? -1) <= (statusAtMs ?? -1)) {
    device.status = status
    device.statusAtMs = statusAtMs
  }
  return device
}
