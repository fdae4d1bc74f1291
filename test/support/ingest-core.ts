/** The part of the cloud that takes records in: database, registry, embedded bus and ingest, all real, in a directory. */

import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createGatewayTrust, type GatewayTrust, type GatewayTrustOptions } from '../../cloud/authority/authority.ts'
import type { Bus } from '../../cloud/bus/bus.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { DeviceCommands, Gateways } from '../../cloud/gateways/gateways.ts'
import { MasterKey, type SecurityEvent } from '../../cloud/identity/identity.ts'
import { Ingest, type IngestOptions } from '../../cloud/ingest/server.ts'
import { Registry, type RegistryOptions } from '../../cloud/registry/registry.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

export interface IngestCoreOptions {
  readonly dir: string
  readonly port?: number
  /** Shared with another core; a file in `dir` otherwise. */
  readonly databaseUrl?: string
  /** Stands in front of the real bus. */
  readonly wrapBus?: (bus: Bus) => Pick<Bus, 'publish'>
  readonly registry?: Partial<RegistryOptions>
  readonly ingest?: Partial<IngestOptions>
  /** Takes gateways by certificate. */
  readonly secure?: SecureOptions
}

export interface SecureOptions extends Partial<Pick<GatewayTrustOptions, 'own' | 'settings' | 'clock'>> {
  /** Of the ingest itself; without it the authority makes one. */
  readonly server?: { readonly cert: string; readonly key: string }
  /** Authorities beside that of the cloud, PEM. */
  readonly ca?: string
  /** What gateways may speak for; those that are named are registered. */
  readonly sites?: Readonly<Record<string, readonly number[]>>
  readonly recheckMs?: number
}

export interface IngestCore {
  readonly port: number
  readonly bus: Bus
  readonly registry: Registry
  readonly gateways: Gateways
  readonly commands: DeviceCommands
  readonly ingest: Ingest
  readonly database: ReturnType<typeof openDatabase>
  /** Of a core that takes gateways by certificate. */
  readonly trust: GatewayTrust
  readonly events: readonly SecurityEvent[]
  /** A gateway that is new gets these sites too. */
  giveSites(gatewayId: string, siteIds: readonly number[]): Promise<void>
  stop(): Promise<void>
}

/** Cores with the same key are cores of one cloud. */
const MASTER_KEY = new MasterKey([Buffer.alloc(32, 7)], systemRandom)

export async function startIngestCore(options: IngestCoreOptions): Promise<IngestCore> {
  const common = {
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  }
  const database = openDatabase({
    url: options.databaseUrl ?? `sqlite:${join(options.dir, 'cloud.db')}`,
    ...common,
  })
  const registry = new Registry({
    database,
    autoRegister: true,
    autoRegisterGateways: true,
    ...common,
    ...options.registry,
  })
  const bus = new EmbeddedBus({
    dir: join(options.dir, 'bus'),
    topics: catalogue(),
    ...common,
  })
  const gateways = new Gateways({
    registry,
    database,
    coreId: randomHex(systemRandom, 8),
    leaseMs: 10_000,
    ...common,
  })
  const outbox = new Outbox({ database, clock: systemClock })
  const commands = new DeviceCommands({ database, outbox, clock: systemClock })
  const events: SecurityEvent[] = []
  const { secure } = options
  const { server, ca, own = null, settings = { gatewayDays: 90, graceDays: 30, tokenHours: 24 } } = secure ?? {}
  const trust = createGatewayTrust({
    ...common,
    ...(secure?.clock === undefined ? {} : { clock: secure.clock }),
    database,
    gatewaySites: registry.gatewaySites,
    masterKey: () => MASTER_KEY,
    own,
    ingestFiles: () => ({ ...server, ...(ca === undefined ? {} : { ca }) }),
    hosts: [],
    events: { note: (event) => void events.push(event) },
    settings,
    attempts: { failuresMax: 5, windowMs: 60_000 },
    ingestAddress: null,
  })
  const { authority, identities, renewals } = trust
  const security = {
    tls: () => authority.ingestTls(),
    identities,
    renewals,
    events: { note: (event: SecurityEvent) => void events.push(event) },
    recheckMs: secure?.recheckMs ?? 2_000,
  }
  const giveSites = (gatewayId: string, siteIds: readonly number[]): Promise<void> =>
    database.transaction(async (transaction) => {
      await registry.gatewaySites.register(gatewayId, transaction)
      await registry.gatewaySites.give(gatewayId, siteIds, transaction)
    })
  const ingest = new Ingest({
    host: '127.0.0.1',
    port: options.port ?? 0,
    bus: options.wrapBus?.(bus) ?? bus,
    database,
    registry,
    gateways,
    commands,
    ...common,
    ...(secure === undefined ? {} : { security }),
    ...options.ingest,
  })
  await database.start()
  await registry.start()
  await bus.start()
  await bus.createTopics()
  await gateways.start()
  if (secure !== undefined) await authority.start()
  for (const [gatewayId, siteIds] of Object.entries(secure?.sites ?? {})) await giveSites(gatewayId, siteIds)
  await ingest.start()
  return {
    port: ingest.port as number,
    bus,
    registry,
    gateways,
    commands,
    ingest,
    database,
    trust,
    events,
    giveSites,
    async stop() {
      const deadline = AbortSignal.timeout(5_000)
      await ingest.stop(deadline)
      await gateways.stop()
      await bus.stop(deadline)
      await registry.stop()
      await database.stop()
    },
  }
}

/** Stopped when the test ends, unless the test did. */
export async function ingestCore(options: IngestCoreOptions): Promise<IngestCore> {
  const core = await startIngestCore(options)
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => {
    stopped ??= core.stop()
    return stopped
  }
  onTestFinished(stop)
  return { ...core, stop }
}
