/** The part of a core that lists and replays dead letters: database, bus, registry, all real, stopped when the test ends. */

import { onTestFinished } from 'vitest'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import { catalogue, DEVICE_STATUS, DEVICE_TELEMETRY } from '../../cloud/bus/catalogue.ts'
import { deadLetters as lettersOf } from '../../cloud/bus/dead-letter.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { DeadLetters, type DeadLettersOptions } from '../../cloud/dead-letters/dead-letters.ts'
import { IngestReplay } from '../../cloud/ingest/replay.ts'
import { readReading, readStatusEvent } from '../../cloud/registry/device-event.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { readingRecord } from './device-records.ts'
import { tempDir } from './temp-dir.ts'
import { until } from './until.ts'

export const DLT = 'device-telemetry-dlt'
/** When they were given up, Unix milliseconds. */
export const DIED_AT_MS = Date.UTC(2026, 0, 2)

/** As the analytics service gave it up. */
export function letterOf(record: BusRecord, code = 'ANALYTICS_FAILED', offset = 0): BusRecord {
  const consumed = { topic: 'device-telemetry', partition: 1, offset: BigInt(offset), timestampMs: DIED_AT_MS }
  const { key, headers = {} } = record
  const [letter] = lettersOf(
    { ...consumed, key, headers, value: Buffer.from(record.value as string) },
    { source: 'analytics-service', code, message: 'why', retryCount: 3, atMs: DIED_AT_MS },
  )
  return letter as BusRecord
}

/** As ingest publishes it. */
export const reading = (deviceId: number, fields: Record<string, unknown> = { powerKw: 1 }): BusRecord => {
  const record = readingRecord({ deviceId, fields, atMs: DIED_AT_MS })
  return { ...record, headers: { ...record.headers, gateway: 'gw-1', seq: String(deviceId) } }
}

export interface DeadLetterCore {
  readonly bus: Bus
  readonly registry: Registry
  readonly deadLetters: DeadLetters
  /** Publishes to a dead-letter topic and waits until the list has as many more. */
  add(topic: string, records: readonly BusRecord[]): Promise<void>
}

export interface DeadLetterCoreOptions {
  readonly bus?: Bus
  readonly registry?: Registry
  readonly autoRegister?: boolean
  readonly clock?: Clock
  readonly deadLetters?: Partial<DeadLettersOptions>
}

export const DECODERS: DeadLettersOptions['decoders'] = new Map<string, never>([
  [DEVICE_TELEMETRY, readReading as never],
  [DEVICE_STATUS, readStatusEvent as never],
])

export async function deadLetterCore(
  database: DatabaseHandle,
  options: DeadLetterCoreOptions = {},
): Promise<DeadLetterCore> {
  const { autoRegister = false, clock = systemClock } = options
  const common = { clock, random: systemRandom, log: silentLogger }
  const bus = options.bus ?? (await freshBus())
  const registry = options.registry ?? new Registry({ database, autoRegister, autoRegisterGateways: true, ...common })
  const deadLetters = new DeadLetters({
    bus,
    database,
    coreId: 'core-1',
    intake: new IngestReplay({ registry, autoRegister, clock }),
    decoders: DECODERS,
    settings: { keptDays: 30, keptMax: 100_000, valueBytesMax: 1024 * 1024 },
    ...common,
    ...options.deadLetters,
  })
  onTestFinished(() => deadLetters.stop(AbortSignal.timeout(2_000)))
  await deadLetters.start()
  return {
    bus,
    registry,
    deadLetters,
    async add(topic, records) {
      const before = deadLetters.stats().indexed
      await bus.publish(topic, records)
      await until(() => deadLetters.stats().indexed >= before + records.length)
    },
  }
}

export async function freshBus(dir?: string): Promise<EmbeddedBus> {
  const bus = new EmbeddedBus({
    dir: dir ?? (await tempDir()),
    topics: catalogue(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  onTestFinished(() => bus.stop(AbortSignal.timeout(2_000)))
  await bus.start()
  await bus.createTopics()
  return bus
}

export async function countDeadLetters(database: DatabaseHandle): Promise<number> {
  const { count } = await database.kysely
    .selectFrom('dead_letters')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return Number(count)
}
