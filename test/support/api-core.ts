/** An API over a real database, a real registry and the real embedded bus, on a port of its own. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry as MetricsRegistry } from 'prom-client'
import { onTestFinished } from 'vitest'
import { Api, type ApiOptions } from '../../cloud/api/api.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Parking } from '../../cloud/bus/parking.ts'
import type { CommandSettings } from '../../cloud/commands/commands.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { LOCAL_AUTHENTICATION } from '../../cloud/identity/identity.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { Analytics } from '../../cloud/telemetry/analytics.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { analyticsSettings, consumers } from './analytics-core.ts'
import { type CommandCore, commandCore } from './command-core.ts'

export interface ApiCore {
  readonly api: Api
  readonly database: DatabaseHandle
  readonly registry: Registry
  /** What is asked for over the API is stored by these; nothing publishes or delivers it. */
  readonly core: CommandCore
  readonly bus: EmbeddedBus
  readonly metrics: MetricsRegistry
  /** Such as http://127.0.0.1:1234, without a slash at the end. */
  readonly url: string
  readonly webSocketUrl: string
}

/** Started now, stopped when the current test ends; on a SQLite file of its own unless `databaseUrl` is given. */
export async function startApiCore(
  overrides: Partial<ApiOptions> = {},
  databaseUrl?: string,
  settings: Partial<CommandSettings> = {},
): Promise<ApiCore> {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
  const common = { clock: systemClock, log: silentLogger }
  const database = openDatabase({ url: databaseUrl ?? `sqlite:${join(dir, 'busbar.db')}`, ...common })
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const bus = new EmbeddedBus({ dir: join(dir, 'bus'), topics: catalogue(), random: systemRandom, ...common })
  const metrics = new MetricsRegistry()
  const core = commandCore(database, { registry, settings, clock: overrides.clock ?? systemClock })
  const parking = new Parking({ database, bus, coreId: 'core', settings: consumers, random: systemRandom, ...common })
  const latest = new Analytics({
    parking,
    ...common,
    bus,
    database,
    registry,
    settings: analyticsSettings,
    coreId: 'core',
    random: systemRandom,
    writeDelayMs: 10,
  })
  const api = new Api({
    host: '127.0.0.1',
    port: 0,
    registry,
    latest,
    commands: core.commands,
    authentication: LOCAL_AUTHENTICATION,
    insecure: overrides.authentication === undefined,
    database,
    bus,
    dependencies: [
      { name: 'database', health: () => database.health() },
      { name: 'bus', health: () => bus.health() },
    ],
    metrics,
    version: '0.0.0-test',
    ...common,
    ...overrides,
  })
  const parts = [database, registry, bus, parking, latest, api]
  onTestFinished(async () => {
    const deadline = AbortSignal.timeout(5000)
    for (const part of parts.toReversed()) await part.stop(deadline)
    await rm(dir, { recursive: true, force: true })
  })
  for (const part of parts) {
    await part.start()
    if (part === bus) await bus.createTopics()
  }
  const { port } = api.address()
  return {
    api,
    database,
    registry,
    core,
    bus,
    metrics,
    url: `${overrides.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    webSocketUrl: `${overrides.tls === undefined ? 'ws' : 'wss'}://127.0.0.1:${port}/api/v1/ws`,
  }
}
