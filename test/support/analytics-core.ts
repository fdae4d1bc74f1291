/**
 * The part of a core that turns device records into readings, roll-ups and latest values: bus, database, registry,
 * consumer. Run as a program (`bun analytics-core.ts <busDir or kafka:brokers> <databaseUrl> [reportMs] [rollUpDelayMs]`) it
 * consumes until it is killed.
 */

import type { Bus } from '../../cloud/bus/bus.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
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

export interface AnalyticsCore<B extends Bus = EmbeddedBus> {
  readonly bus: B
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

export async function startKafkaBus(brokers: readonly string[]): Promise<KafkaBus> {
  const bus = new KafkaBus({ brokers, topics: catalogue(), ...common })
  await bus.start()
  await bus.createTopics()
  return bus
}

export interface AnalyticsCoreOptions<B extends Bus = EmbeddedBus> {
  readonly databaseUrl: string
  readonly analytics?: Partial<AnalyticsOptions>
  /** What the consumer gets in place of the bus. */
  readonly wrapBus?: (bus: B) => AnalyticsOptions['bus']
}

export async function startAnalyticsCore(
  options: AnalyticsCoreOptions & { readonly busDir: string },
): Promise<AnalyticsCore> {
  return analyticsCoreOver(await startBus(options.busDir), options)
}

/** Stops the bus as well. */
export async function analyticsCoreOver<B extends Bus>(
  bus: B,
  options: AnalyticsCoreOptions<B>,
): Promise<AnalyticsCore<B>> {
  const database = openDatabase({ url: options.databaseUrl, ...common, probePeriodMs: 50 })
  await database.start()
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

/** What the program prints, one line of JSON every so often, when its third argument says how often, milliseconds. */
export type AnalyticsReport = ReturnType<Analytics['stats']>

if (import.meta.main) {
  const [busName = '', databaseUrl = '', reportMs = '0', rollUpDelayMs = '100'] = process.argv.slice(2)
  const [, brokers] = /^kafka:(.+)$/.exec(busName) ?? []
  const bus = brokers === undefined ? await startBus(busName) : await startKafkaBus(brokers.split(','))
  const settings = { ...analyticsSettings, rollUpDelayMs: Number(rollUpDelayMs) }
  const writeDelayMs = reportMs === '0' ? 0 : 200
  const core = await analyticsCoreOver<Bus>(bus, { databaseUrl, analytics: { settings, writeDelayMs } })
  process.once('SIGTERM', () => void core.stop().then(() => process.exit(0)))
  process.stdout.write('started\n')
  if (reportMs !== '0') {
    systemClock.every(Number(reportMs), () => void process.stdout.write(`${JSON.stringify(core.analytics.stats())}\n`))
  }
}
