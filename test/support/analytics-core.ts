/**
 * The part of a core that turns device records into readings, roll-ups and latest values: bus, database, registry, consumer. Run as a program
 * (`bun analytics-core.ts <busDir> <databaseUrl>`) it consumes until it is killed.
 */

import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Parking } from '../../cloud/bus/parking.ts'
import type { ConsumerSettings } from '../../cloud/bus/retry-policy.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { Analytics, type AnalyticsOptions, type AnalyticsSettings } from '../../cloud/telemetry/analytics.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

const common = { clock: systemClock, random: systemRandom, log: silentLogger }

/** Ages and delays for tests: every event time since 1970 is accepted, and nothing is rolled up but when asked for. */
export const analyticsSettings: AnalyticsSettings = {
  acceptedAgeDays: 36_500,
  rollUpDelayMs: 600_000,
  rawDays: 36_500,
  rollup1mDays: 36_500,
  rollup15mDays: 36_500,
  rollup1hDays: 36_500,
  rollup1dDays: 36_500,
}

/** Of a consumer that gives a record up soon. */
export const consumers: ConsumerSettings = {
  retries: 1,
  deviceRetries: 1,
  retryBaseMs: 10,
  retryCapMs: 20,
  parkedMax: 1_000,
}

export interface AnalyticsCore {
  readonly bus: EmbeddedBus
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly analytics: Analytics
  stop(): Promise<void>
}

export async function startBus(dir: string): Promise<EmbeddedBus> {
  const bus = new EmbeddedBus({ dir, topics: catalogue(), ...common })
  await bus.start()
  await bus.createTopics()
  return bus
}

export async function startAnalyticsCore(options: {
  readonly busDir: string
  readonly databaseUrl: string
  readonly analytics?: Partial<AnalyticsOptions>
  /** What the consumer gets in place of the bus. */
  readonly wrapBus?: (bus: EmbeddedBus) => AnalyticsOptions['bus']
}): Promise<AnalyticsCore> {
  const database = openDatabase({ url: options.databaseUrl, ...common, probePeriodMs: 50 })
  await database.start()
  const bus = await startBus(options.busDir)
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const coreId = randomHex(systemRandom, 8)
  const consumed = options.wrapBus?.(bus) ?? bus
  const parking = new Parking({ database, bus, coreId, settings: consumers, ...common })
  const analytics = new Analytics({
    bus: consumed,
    parking,
    database,
    registry,
    settings: analyticsSettings,
    coreId,
    ...common,
    ...options.analytics,
  })
  await parking.start()
  await analytics.start()
  const never = new AbortController().signal
  return {
    bus,
    database,
    registry,
    analytics,
    async stop() {
      await analytics.stop(never)
      await parking.stop()
      await bus.stop(never)
      await database.stop()
    },
  }
}

if (import.meta.main) {
  const [busDir = '', databaseUrl = ''] = process.argv.slice(2)
  await startAnalyticsCore({ busDir, databaseUrl, analytics: { writeDelayMs: 0 } })
  process.stdout.write('started\n')
}
