/** The part of the cloud that takes records in: database, registry, embedded bus and ingest, all real, in a directory. */

import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { DeviceCommands, Gateways } from '../../cloud/gateways/gateways.ts'
import { Ingest, type IngestOptions } from '../../cloud/ingest/server.ts'
import { Registry, type RegistryOptions } from '../../cloud/registry/registry.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

export interface IngestCoreOptions {
  readonly dir: string
  readonly port?: number
  /** Stands in front of the real bus. */
  readonly wrapBus?: (bus: Bus) => Pick<Bus, 'publish'>
  readonly registry?: Partial<RegistryOptions>
  readonly ingest?: Partial<IngestOptions>
}

export interface IngestCore {
  readonly port: number
  readonly bus: Bus
  readonly registry: Registry
  readonly gateways: Gateways
  readonly commands: DeviceCommands
  readonly ingest: Ingest
  readonly database: ReturnType<typeof openDatabase>
  stop(): Promise<void>
}

export async function startIngestCore(options: IngestCoreOptions): Promise<IngestCore> {
  const common = {
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  }
  const database = openDatabase({
    url: `sqlite:${join(options.dir, 'cloud.db')}`,
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
  const ingest = new Ingest({
    host: '127.0.0.1',
    port: options.port ?? 0,
    bus: options.wrapBus?.(bus) ?? bus,
    database,
    registry,
    gateways,
    commands,
    ...common,
    ...options.ingest,
  })
  await database.start()
  await registry.start()
  await bus.start()
  await bus.createTopics()
  await gateways.start()
  await ingest.start()
  return {
    port: ingest.port as number,
    bus,
    registry,
    gateways,
    commands,
    ingest,
    database,
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
