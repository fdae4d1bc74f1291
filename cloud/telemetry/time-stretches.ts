/** The stretches of time that the tables by time are parted into: made when first written to, dropped as a whole. */

import { DAY_MS } from '../../shared/durations.ts'

/** The length is a whole number of days and, for roll-ups, of their buckets. */
export interface StretchedTable {
  readonly table: 'readings' | 'rollups_1m' | 'rollups_15m' | 'rollups_1h' | 'rollups_1d'
  readonly timeColumn: 'at_ms' | 'bucket_ms'
  readonly lengthMs: number
}

/** One stretch of one table; `toMs` is the first millisecond after it. */
export interface TimeStretch {
  readonly table: StretchedTable['table']
  readonly fromMs: number
  readonly toMs: number
}

export const STRETCHED_TABLES: readonly StretchedTable[] = [
  { table: 'readings', timeColumn: 'at_ms', lengthMs: DAY_MS },
  { table: 'rollups_1m', timeColumn: 'bucket_ms', lengthMs: 7 * DAY_MS },
  { table: 'rollups_15m', timeColumn: 'bucket_ms', lengthMs: 28 * DAY_MS },
  { table: 'rollups_1h', timeColumn: 'bucket_ms', lengthMs: 364 * DAY_MS },
  { table: 'rollups_1d', timeColumn: 'bucket_ms', lengthMs: 3_640 * DAY_MS },
]

/** The stretch that holds what a reading at `atMs` adds to. */
export function stretchOf({ table, lengthMs }: StretchedTable, atMs: number): TimeStretch {
  const fromMs = Math.floor(atMs / lengthMs) * lengthMs
  return { table, fromMs, toMs: fromMs + lengthMs }
}

/** The name of its partition on PostgreSQL, such as `readings_2026_01_31`. */
export function partitionName({ table, fromMs }: TimeStretch): string {
  return `${table}_${new Date(fromMs).toISOString().slice(0, -14).replaceAll('-', '_')}`
}
