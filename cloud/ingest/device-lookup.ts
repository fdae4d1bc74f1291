/** From MQTT topics to devices, for one gateway: parsed once, asked of the registry once a block. */

import type { Clock } from '../../shared/clock.ts'
import { type DeviceTopic, parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import type { DeviceKey, RegisteredDevice } from '../registry/device.ts'
import type { AllowedSites } from './identity-guard.ts'

/** What the ingest asks of the registry for devices. */
export interface DeviceRegistry {
  /** From memory; null means that `load` must be asked. */
  resolve(gatewayId: string, siteId: number, serialNumber: string): RegisteredDevice | null
  load(gatewayId: string, keys: readonly DeviceKey[]): Promise<(RegisteredDevice | null)[]>
}

/**
 * A topic and the device behind it; `device` is null when none is registered, and `foreign` set when the gateway may not speak
 * for its site: then nothing is asked, least of all for a device to be registered there.
 */
export type Source =
  | { readonly topic: null }
  | { readonly topic: DeviceTopic; readonly device: RegisteredDevice | null; readonly foreign?: true }

/** Parsed topics kept for a gateway; beyond it all are parsed anew. */
const TOPICS_MAX = 10_000
/** How long an answer that a device is not registered counts, and how many are kept. */
const UNKNOWN_MS = 5_000
const UNKNOWN_MAX = 1_000

export class DeviceLookup {
  private readonly gatewayId: string
  private readonly registry: DeviceRegistry
  private readonly sites: AllowedSites
  private readonly clock: Clock
  private readonly parsed = new Map<string, DeviceTopic | null>()
  private readonly unknownUntil = new Map<string, number>()

  constructor(options: {
    readonly gatewayId: string
    readonly registry: DeviceRegistry
    readonly sites: AllowedSites
    readonly clock: Clock
  }) {
    this.gatewayId = options.gatewayId
    this.registry = options.registry
    this.sites = options.sites
    this.clock = options.clock
  }

  /** Fills `sources` for `topics` from memory; what the registry must be asked for is returned. */
  fromMemory(topics: Iterable<string>, sources: Map<string, Source>): string[] {
    const missing: string[] = []
    for (const topic of topics) {
      const parsed = this.parse(topic)
      if (parsed === null) {
        sources.set(topic, { topic: null })
        continue
      }
      if (!this.sites.includes(parsed.siteId)) {
        sources.set(topic, { topic: parsed, device: null, foreign: true })
        continue
      }
      const device = this.registry.resolve(this.gatewayId, parsed.siteId, parsed.serialNumber)
      if (device !== null || this.isUnknown(topic)) sources.set(topic, { topic: parsed, device })
      else missing.push(topic)
    }
    return missing
  }

  /** Fills `sources` for topics that `fromMemory` returned. Rejects when the registry cannot be asked. */
  async fromRegistry(topics: readonly string[], sources: Map<string, Source>): Promise<void> {
    const parsed = topics.map((topic) => this.parse(topic) as DeviceTopic)
    const devices = await this.registry.load(this.gatewayId, parsed)
    for (const [index, topic] of topics.entries()) {
      const device = devices[index] ?? null
      sources.set(topic, { topic: parsed[index] as DeviceTopic, device })
      if (device === null) this.remember(topic)
    }
  }

  private parse(topic: string): DeviceTopic | null {
    const known = this.parsed.get(topic)
    if (known !== undefined) return known
    if (this.parsed.size >= TOPICS_MAX) this.parsed.clear()
    const parsed = parseDeviceTopic(topic)
    this.parsed.set(topic, parsed)
    return parsed
  }

  private isUnknown(topic: string): boolean {
    const until = this.unknownUntil.get(topic)
    return until !== undefined && this.clock.monotonicMs() < until
  }

  private remember(topic: string): void {
    if (this.unknownUntil.size >= UNKNOWN_MAX) this.unknownUntil.clear()
    this.unknownUntil.set(topic, this.clock.monotonicMs() + UNKNOWN_MS)
  }
}
