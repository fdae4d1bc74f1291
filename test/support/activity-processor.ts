/** A processor of activities over a database, handed its batches by the test, for what becomes of them. */

import { onTestFinished } from 'vitest'
import {
  type ActivityKeys,
  ActivityProcessor,
  ActivityStore,
  type ActivityStoreOptions,
  ActivityWindows,
} from '../../cloud/activity/activity.ts'
import type { BatchHandler, BusRecord, ConsumedRecord } from '../../cloud/bus/bus.ts'
import { USER_ACTIVITY_LOGS } from '../../cloud/bus/catalogue.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { Notifications } from '../../cloud/notifications/notifications.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { type Logger, silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { activityKeys, OLD_KEY, TYPES } from './activity-log.ts'
import { NOTIFICATION_SETTINGS } from './notification-core.ts'
import { parkingOver } from './parking.ts'

const NEVER = { failedLogins: 0, commands: 0, newAddress: false, unusualHours: false }
export const SUSPICION = {
  failedLoginsMs: 300_000,
  commandsMs: 60_000,
  addressDays: 90,
  unusualHoursDays: 14,
  timeZone: 'UTC',
  ...NEVER,
}

export interface ProcessorOptions {
  readonly keys?: ActivityKeys
  readonly suspicion?: Partial<typeof SUSPICION>
  readonly windowMs?: number
  readonly log?: Logger
  /** What the processor stores with. */
  readonly wrapStore?: (store: ActivityStore) => Pick<ActivityStore, 'append'>
  /** Instead of taking them. */
  readonly onPublish?: (topic: string) => void
}

export interface Published extends BusRecord {
  readonly topic: string
}

export interface ProcessorUnderTest {
  readonly processor: ActivityProcessor
  readonly windows: ActivityWindows
  /** Hands over one batch of a partition: values as JSON unless they are text. Rejects when it is to come again. */
  deliver(
    ...values: readonly (string | { readonly userId: string; readonly [member: string]: unknown })[]
  ): Promise<void>
  /** What was published directly. */
  readonly published: Published[]
  /** Values in the outbox, and out of it. */
  takeOutbox(): Promise<Record<string, unknown>[]>
}

/** Time as told by `at.ms`, timers as they are. */
export function clockAt(at: { readonly ms: number }): Clock {
  return {
    wallMs: () => at.ms,
    monotonicMs: () => systemClock.monotonicMs(),
    after: (delayMs, fn) => systemClock.after(delayMs, fn),
    every: (periodMs, fn) => systemClock.every(periodMs, fn),
  }
}

let cores = 0

export async function processorOver(
  database: DatabaseHandle,
  clock: Clock,
  {
    keys = activityKeys(OLD_KEY),
    suspicion,
    windowMs = 60_000,
    wrapStore = (store) => store,
    onPublish,
    log = silentLogger,
  }: ProcessorOptions = {},
): Promise<ProcessorUnderTest> {
  const common = { database, clock, random: systemRandom, log, coreId: `activity-core-${++cores}` }
  const published: Published[] = []
  let handler: BatchHandler = async () => undefined
  const bus = {
    publish: async (topic: string, records: readonly BusRecord[]) => {
      onPublish?.(topic)
      published.push(...records.map((record) => ({ topic, ...record })))
    },
    subscribe: async ({ onBatch }: { onBatch: BatchHandler }) => {
      handler = onBatch
      return { stop: async () => undefined }
    },
  }
  const outbox = new Outbox(common)
  const notifier = new Notifications({ ...common, outbox, settings: NOTIFICATION_SETTINGS })
  const parking = parkingOver(database, bus)
  await parking.start()
  const settings = {
    ...{ metadataBytesMax: 16_384, futureToleranceMs: 300_000, windowMs },
    suspicion: { ...SUSPICION, ...suspicion },
  }
  const stored: ActivityStoreOptions = {
    ...common,
    ...{ dialect: database.dialect, keys, sensitiveFields: ['ipAddress', 'userAgent'] },
  }
  const processor = new ActivityProcessor({
    ...common,
    store: wrapStore(new ActivityStore(stored)),
    ...{ types: TYPES, bus, keys, settings, parking, notifier, outbox },
  })
  await processor.start()
  onTestFinished(() => processor.stop())
  const windows = new ActivityWindows({ ...common, outbox, settings, periodMs: 10, lateMs: 1_000 })
  let offset = 0n
  return {
    processor,
    windows,
    published,
    async deliver(...values) {
      const records = values.map((value): ConsumedRecord => {
        const key = typeof value === 'string' ? null : value.userId
        const text = typeof value === 'string' ? value : JSON.stringify(value)
        const headers = { source: 'a-program', timestamp: '2026-01-01T00:00:00.000Z' }
        const place = { topic: USER_ACTIVITY_LOGS, partition: 0, offset: offset++, timestampMs: clock.wallMs() }
        return { ...place, key, value: Buffer.from(text), headers }
      })
      await handler({ topic: USER_ACTIVITY_LOGS, partition: 0, records })
    },
    async takeOutbox() {
      const rows = await database.kysely.selectFrom('outbox').select(['topic', 'value']).orderBy('id').execute()
      await database.kysely.deleteFrom('outbox').execute()
      return rows.map(({ topic, value }) => ({ topic, ...JSON.parse(String(value)) }))
    },
  }
}
