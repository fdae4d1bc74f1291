/** A consumer that a test feeds by hand, with its parking. */

import { onTestFinished } from 'vitest'
import type { BatchHandler, BusRecord, ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import { TASK_REQUESTED } from '../../../../cloud/bus/catalogue.ts'
import type { Parking, ParkingOptions } from '../../../../cloud/bus/parking.ts'
import { type ConsumedItem, RecordConsumer, type RecordConsumerOptions } from '../../../../cloud/bus/record-consumer.ts'
import type { DatabaseHandle } from '../../../../cloud/database/database.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import type { ManualClock } from '../../../support/manual-clock.ts'
import { parkingOver } from '../../../support/parking.ts'
import { until } from '../../../support/until.ts'

export const GROUP = 'a-group'
export const SETTINGS = { retries: 2, deviceRetries: 1, retryBaseMs: 1_000, retryCapMs: 5_000, parkedMax: 1_000 }

export interface Value {
  readonly text: string
}
export type Handle = RecordConsumerOptions<Value>['handle']

export function record(
  offset: number,
  key: string | null,
  text: string | Buffer,
  topic = TASK_REQUESTED,
): ConsumedRecord {
  const value = typeof text === 'string' ? Buffer.from(text) : text
  return {
    topic,
    partition: 0,
    offset: BigInt(offset),
    key,
    value,
    headers: { from: 'a' },
    timestampMs: 1_000 + offset,
  }
}

export interface Core {
  readonly parking: Parking
  readonly consumer: RecordConsumer<Value>
  readonly letters: BusRecord[]
  /** Delivers a batch as the bus does. */
  deliver(...records: ConsumedRecord[]): Promise<void>
}

/** A started consumer that the test feeds by hand. */
export async function startCore(
  database: DatabaseHandle,
  handle: Handle,
  options: Partial<ParkingOptions> & { readonly topic?: string; readonly group?: string } = {},
): Promise<Core> {
  const { topic = TASK_REQUESTED, group = GROUP, ...parkingOptions } = options
  const { clock = systemClock } = options
  const letters: BusRecord[] = []
  let onBatch: BatchHandler | null = null
  const bus = {
    publish: async (_topic: string, records: readonly BusRecord[]) => void letters.push(...records),
    subscribe: async (subscribing: { onBatch: BatchHandler }) => {
      onBatch = subscribing.onBatch
      return { stop: async () => {} }
    },
  }
  const parking = parkingOver(database, bus, { settings: SETTINGS, pollMs: 500, ...parkingOptions })
  const consumer = new RecordConsumer<Value>({
    name: 'consumer',
    bus,
    group,
    topics: [topic],
    decode: ({ value }) => ({ text: value.length > 100 ? `${value.length} bytes` : value.toString() }),
    handle,
    parking,
    clock,
    random: systemRandom,
    log: silentLogger,
  })
  onTestFinished(() => consumer.stop())
  await parking.start()
  await consumer.start()
  return {
    parking,
    consumer,
    letters,
    deliver: (...records) => (onBatch as BatchHandler)({ topic, partition: 0, records }),
  }
}

export const texts = (items: readonly ConsumedItem<Value>[]) => items.map(({ value }) => value.text)
export const errorsOf = (letters: readonly BusRecord[]) =>
  letters.map(({ value }) => (JSON.parse(String(value)) as { error: { code: string; retryCount: number } }).error)
export const settled = async (pauseMs = 5) => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, pauseMs))
}

/** Moves the clock until the condition holds. */
export async function moving(clock: ManualClock, stepMs: number, condition: () => boolean): Promise<number> {
  const beganMs = clock.monotonicMs()
  await until(
    () => {
      if (condition()) return true
      clock.advance(stepMs)
      return false
    },
    { pollMs: 1 },
  )
  return clock.monotonicMs() - beganMs
}

export const rowsOf = (database: DatabaseHandle) =>
  database.kysely.selectFrom('parked_records').select(['record_offset', 'key']).orderBy('id').execute()
