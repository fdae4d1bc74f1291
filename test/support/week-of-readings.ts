/**
 * A week of readings of many devices, made from a seed and written straight into the tables, with roll-ups made by the
 * functions that make them in the core, in an order as if a part had come late. Kept in memory as well, to recompute from.
 */

import { sql } from 'kysely'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { givenRows } from '../../cloud/database/given-rows.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import {
  bucketOf,
  encodeRollups,
  type FieldRollup,
  mergeRollups,
  RESOLUTIONS,
  type Resolution,
  rollupOf,
} from '../../cloud/telemetry/rollup.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { seededRandom } from './seeded-random.ts'

export interface MadeReading {
  readonly atMs: number
  readonly seq: number
  readonly fields: Readonly<Record<string, unknown>>
}

export interface WeekOptions {
  readonly seed: number
  readonly devices: number
  /** Between two readings of a device, by its place from 0, milliseconds. */
  readonly periodMs: (device: number) => number
  readonly fromMs: number
  readonly toMs: number
  /** Readings from here on are not rolled up yet. */
  readonly rolledUpToMs: number
}

export const DAY_MS = 86_400_000
const ROWS_PER_STATEMENT = 5_000

/** Ascending by time, for each device. Some are missing for hours, some come twice at one time. */
export function makeWeek(options: WeekOptions): MadeReading[][] {
  const random = seededRandom(options.seed)
  return Array.from({ length: options.devices }, (_, device) => makeDevice(random, device, options))
}

function makeDevice(random: Random, device: number, { periodMs, fromMs, toMs }: WeekOptions): MadeReading[] {
  const readings: MadeReading[] = []
  const period = periodMs(device)
  let seq = Math.floor(random.fraction() * 2 ** 40)
  let power = 50
  for (let atMs = fromMs + Math.floor(random.fraction() * period); atMs < toMs; ) {
    power += random.fraction() * 4 - 2
    const spike = random.fraction() < 0.002 ? 500 * (random.fraction() - 0.5) : 0
    const fields: Record<string, unknown> = {
      // Never -0, which JSON does not know.
      powerKw: Math.round((power + spike) * 1000) / 1000 + 0,
      voltage: 400 + Math.floor(random.fraction() * 10),
    }
    if (random.fraction() < 0.5) fields.temperature = random.fraction() * 40 - 10
    if (random.fraction() < 0.3) fields.mode = random.fraction() < 0.5 ? 'auto' : 7
    if (random.fraction() < 0.1) fields.on = true
    readings.push({ atMs, seq: ++seq, fields })
    // The same time again, or the usual jitter, or silence for hours.
    const chance = random.fraction()
    if (chance < 0.02) continue
    atMs +=
      chance < 0.021 ? Math.floor(random.fraction() * DAY_MS * 0.5) : Math.ceil(period * (0.5 + random.fraction()))
  }
  return readings
}

/** Registers the devices, ten to a site, and writes their readings; device ids begin at 1. */
export async function writeWeek(
  database: DatabaseHandle,
  week: readonly (readonly MadeReading[])[],
  options: WeekOptions,
): Promise<void> {
  const registry = new Registry({
    database,
    autoRegister: true,
    autoRegisterGateways: true,
    clock: systemClock,
    log: silentLogger,
  })
  for (let device = 0; device < week.length; device++) {
    await registry.load(`gw-${Math.floor(device / 10) + 1}`, [siteAndSerial(device)])
  }
  if (database.dialect === 'postgres') await makePartitions(database, options)
  for (const [device, readings] of week.entries()) await writeDevice(database, device + 1, readings, options)
  if (database.dialect === 'postgres') await sql`analyze`.execute(database.kysely)
}

export function siteAndSerial(device: number) {
  return { siteId: Math.floor(device / 10) + 1, serialNumber: `INV-${String(device + 1).padStart(3, '0')}` }
}

async function writeDevice(
  database: DatabaseHandle,
  deviceId: number,
  readings: readonly MadeReading[],
  { rolledUpToMs }: WeekOptions,
): Promise<void> {
  const rows = readings.map(({ atMs, seq, fields }) => ({ at_ms: atMs, seq, fields: JSON.stringify(fields) }))
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    const columns = { at_ms: 'bigint', seq: 'bigint', fields: 'text' } as const
    const given = givenRows(database.dialect, columns, rows.slice(start, start + ROWS_PER_STATEMENT))
    await sql`insert into readings (device_id, at_ms, seq, fields) select cast(${deviceId} as integer), at_ms, seq, fields from ${given}`.execute(
      database.kysely,
    )
  }
  const done = readings.filter(({ atMs }) => atMs < rolledUpToMs)
  // Every third comes after the others, as if from a backlog.
  const late = [...done.filter((_, i) => i % 3 !== 0), ...done.filter((_, i) => i % 3 === 0)]
  for (const resolution of RESOLUTIONS) await writeRollups(database, deviceId, late, resolution)
}

async function writeRollups(
  database: DatabaseHandle,
  deviceId: number,
  readings: readonly MadeReading[],
  { ms, table }: Resolution,
): Promise<void> {
  const buckets = new Map<number, { records: number; fields: Map<string, FieldRollup> }>()
  for (const { atMs, seq, fields } of readings) {
    const bucketMs = bucketOf(atMs, ms)
    const bucket = buckets.get(bucketMs) ?? { records: 0, fields: new Map() }
    buckets.set(bucketMs, bucket)
    bucket.records++
    for (const [name, value] of Object.entries(fields)) {
      if (typeof value !== 'number') continue
      const known = bucket.fields.get(name)
      const rollup = rollupOf(value, atMs, seq)
      bucket.fields.set(name, known === undefined ? rollup : mergeRollups(known, rollup))
    }
  }
  const rows = [...buckets].map(([bucketMs, { records, fields }]) => ({
    bucket_ms: bucketMs,
    records,
    fields: encodeRollups(fields),
  }))
  for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
    const columns = { bucket_ms: 'bigint', records: 'integer', fields: 'text' } as const
    const given = givenRows(database.dialect, columns, rows.slice(start, start + ROWS_PER_STATEMENT))
    await sql`insert into ${sql.table(table)} (device_id, bucket_ms, records, fields) select cast(${deviceId} as integer), bucket_ms, records, fields from ${given}`.execute(
      database.kysely,
    )
  }
}

/** A day each of readings, and one of each roll-up. */
async function makePartitions(database: DatabaseHandle, { fromMs, toMs }: WeekOptions): Promise<void> {
  const make = (table: string, beginMs: number, endMs: number) =>
    sql`create table ${sql.table(`${table}_${beginMs}`)} partition of ${sql.table(table)}
      for values from (${sql.lit(beginMs)}) to (${sql.lit(endMs)})`.execute(database.kysely)
  for (let dayMs = bucketOf(fromMs, DAY_MS); dayMs < toMs; dayMs += DAY_MS)
    await make('readings', dayMs, dayMs + DAY_MS)
  for (const { table } of RESOLUTIONS) await make(table, bucketOf(fromMs, DAY_MS), toMs + DAY_MS)
}
