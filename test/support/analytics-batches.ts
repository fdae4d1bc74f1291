/** Analytics that is handed its batches by the test in place of a bus, and what its tables should hold then. */

import { onTestFinished } from 'vitest'
import type { BatchHandler, Bus, BusRecord, ConsumedRecord } from '../../cloud/bus/bus.ts'
import { DEVICE_TELEMETRY } from '../../cloud/bus/catalogue.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { Analytics, type AnalyticsOptions } from '../../cloud/telemetry/analytics.ts'
import { decodeRollups, type FieldRollup, RESOLUTIONS } from '../../cloud/telemetry/rollup.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { analyticsSettings } from './analytics-core.ts'
import { parkingOver } from './parking.ts'

const common = { clock: systemClock, random: systemRandom, log: silentLogger }
let offsets = 0n

export interface HandedBatches {
  readonly analytics: Analytics
  /** Topics and records that were published: dead letters. */
  readonly published: { readonly topic: string; readonly record: BusRecord }[]
  /** One batch; resolves when its offsets would be committed. */
  deliver(records: readonly ConsumedRecord[]): Promise<void>
}

/** Records as a bus hands them over; the same ones may be delivered again. @param timestampMs when the bus took them in. */
export function consumed(
  records: readonly BusRecord[],
  topic: string = DEVICE_TELEMETRY,
  timestampMs: number = systemClock.wallMs(),
): ConsumedRecord[] {
  return records.map(({ key, value, headers = {} }) => {
    return { topic, partition: 0, offset: offsets++, key, value: Buffer.from(value), headers, timestampMs }
  })
}

/** One core's, started; stopped when the test ends. */
export async function handedBatches(
  database: DatabaseHandle,
  options: Partial<AnalyticsOptions> = {},
): Promise<HandedBatches> {
  let handler: BatchHandler = async () => undefined
  const published: HandedBatches['published'] = []
  const bus: Pick<Bus, 'subscribe' | 'publish'> = {
    subscribe: async ({ onBatch }) => {
      handler = onBatch
      return { stop: async () => undefined }
    },
    publish: async (topic, records) => void published.push(...records.map((record) => ({ topic, record }))),
  }
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const analytics = new Analytics({
    bus,
    database,
    registry,
    parking: parkingOver(database, bus),
    settings: analyticsSettings,
    coreId: 'core',
    writeDelayMs: 0,
    ...common,
    ...options,
  })
  await analytics.start()
  onTestFinished(() => analytics.stop(new AbortController().signal))
  return {
    analytics,
    published,
    deliver: async (records) => {
      const [first] = records
      if (first !== undefined) await handler({ topic: first.topic, partition: first.partition, records })
    },
  }
}

export interface PlainReading {
  readonly deviceId: number
  readonly atMs: number
  readonly seq: number
  readonly fields: Readonly<Record<string, unknown>>
}

/** Rows of roll-ups by `resolution/device/bucket`. */
export type RollupsByKey = Readonly<
  Record<string, { readonly records: number; readonly fields: ReadonlyMap<string, FieldRollup> }>
>

/** From scratch, reading by reading; later ones of the same key count as the same. */
export function expectedRollups(readings: readonly PlainReading[]): RollupsByKey {
  const unique = new Map(readings.map((each) => [`${each.deviceId}/${each.atMs}/${each.seq}`, each]))
  const ordered = [...unique.values()].sort((a, b) => a.atMs - b.atMs || a.seq - b.seq)
  const rows: Record<string, { records: number; fields: Map<string, FieldRollup> }> = {}
  for (const { deviceId, atMs, seq, fields } of ordered) {
    for (const { name, ms } of RESOLUTIONS) {
      const key = `${name}/${deviceId}/${Math.floor(atMs / ms) * ms}`
      rows[key] ??= { records: 0, fields: new Map() }
      const row = rows[key]
      row.records++
      for (const [field, value] of Object.entries(fields)) {
        if (typeof value !== 'number') continue
        const { count = 0, min = value, max = value, sum = 0 } = row.fields.get(field) ?? {}
        row.fields.set(field, {
          count: count + 1,
          min: Math.min(min, value),
          max: Math.max(max, value),
          sum: sum + value,
          last: value,
          lastAtMs: atMs,
          lastSeq: seq,
        })
      }
    }
  }
  return rows
}

/** What is stored of devices `from` to `to`. */
export async function storedReadings(database: DatabaseHandle, from = 0, to = 2 ** 31 - 1): Promise<PlainReading[]> {
  const rows = await database.kysely
    .selectFrom('readings')
    .selectAll()
    .where('device_id', '>=', from)
    .where('device_id', '<=', to)
    .orderBy('device_id')
    .orderBy('at_ms')
    .orderBy('seq')
    .execute()
  return rows.map((row) => ({
    deviceId: row.device_id,
    atMs: row.at_ms,
    seq: row.seq,
    fields: JSON.parse(row.fields) as Record<string, unknown>,
  }))
}

export async function storedRollups(database: DatabaseHandle, from = 0, to = 2 ** 31 - 1): Promise<RollupsByKey> {
  const found: Record<string, RollupsByKey[string]> = {}
  for (const { name, table } of RESOLUTIONS) {
    const query = database.kysely.selectFrom(table).selectAll()
    for (const row of await query.where('device_id', '>=', from).where('device_id', '<=', to).execute()) {
      found[`${name}/${row.device_id}/${row.bucket_ms}`] = { records: row.records, fields: decodeRollups(row.fields) }
    }
  }
  return found
}
