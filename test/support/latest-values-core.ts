/**
 * The part of a core that turns device records into latest values: bus, database, registry, consumer. Run as a program
 * (`bun latest-values-core.ts <busDir> <databaseUrl>`) it consumes until it is killed.
 */

import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { LatestValues, type LatestValuesOptions } from '../../cloud/telemetry/latest-values.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

const common = { clock: systemClock, random: systemRandom, log: silentLogger }

export interface LatestValuesCore {
  readonly bus: EmbeddedBus
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly latestValues: LatestValues
  stop(): Promise<void>
}

export async function startBus(dir: string): Promise<EmbeddedBus> {
  const bus = new EmbeddedBus({ dir, topics: catalogue(), ...common })
  await bus.start()
  await bus.createTopics()
  return bus
}

export async function startLatestValuesCore(options: {
  readonly busDir: string
  readonly databaseUrl: string
  readonly latestValues?: Partial<LatestValuesOptions>
  /** What the consumer gets in place of the bus. */
  readonly wrapBus?: (bus: EmbeddedBus) => LatestValuesOptions['bus']
}): Promise<LatestValuesCore> {
  const database = openDatabase({ url: options.databaseUrl, ...common, probePeriodMs: 50 })
  await database.start()
  const bus = await startBus(options.busDir)
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const consumed = options.wrapBus?.(bus) ?? bus
  const latestValues = new LatestValues({ bus: consumed, database, registry, ...common, ...options.latestValues })
  await latestValues.start()
  const never = new AbortController().signal
  return {
    bus,
    database,
    registry,
    latestValues,
    async stop() {
      await latestValues.stop()
      await bus.stop(never)
      await database.stop()
    },
  }
}

if (import.meta.main) {
  const [busDir = '', databaseUrl = ''] = process.argv.slice(2)
  await startLatestValuesCore({ busDir, databaseUrl, latestValues: { writeDelayMs: 0 } })
  process.stdout.write('started\n')
}
