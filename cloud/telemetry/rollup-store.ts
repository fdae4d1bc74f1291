/** The tables of roll-ups, and that of the deltas which are not in them yet. */

import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { FieldDrops } from './latest-fields.ts'
import { decodeRollups, encodeRollups, type Resolution } from './rollup.ts'
import { type BucketRollup, type DeltaBody, mergeField } from './rollup-delta.ts'

/** Limits of one statement; one of SQLite runs on our only thread. */
const ROWS_PER_STATEMENT = { postgres: 1_000, sqlite: 200 } as const
const ENTRIES_PER_STATEMENT = 20_000
/** Deltas looked at to find those of one transaction. */
const DELTAS_MAX = 500
/** Parts one text into many; JSON text holds no control characters. */
const SEPARATOR = '\u0001'

export interface TakenDelta {
  readonly createdAtMs: number
  readonly body: string
}

interface RollupRow {
  readonly device_id: number
  readonly bucket_ms: number
  readonly records: number
  readonly fields: string
}

export async function insertDeltas(
  deltas: readonly DeltaBody[],
  createdAtMs: number,
  transaction: Transaction<Database>,
): Promise<void> {
  if (deltas.length === 0) return
  const rows = deltas.map((delta) => ({ ...delta, created_at_ms: createdAtMs }))
  await transaction.insertInto('rollup_deltas').values(rows).execute()
}

/** Takes the oldest that no other core has in hand, at least one where there is any, else up to `entriesMax`. */
export async function takeDeltas(
  dialect: Dialect,
  entriesMax: number,
  transaction: Transaction<Database>,
): Promise<TakenDelta[]> {
  let oldest = transaction.selectFrom('rollup_deltas').select(['id', 'entries']).orderBy('id').limit(DELTAS_MAX)
  if (dialect === 'postgres') oldest = oldest.forUpdate().skipLocked()
  const ids: number[] = []
  let entries = 0
  for (const row of await oldest.execute()) {
    if (ids.length > 0 && entries + row.entries > entriesMax) break
    entries += row.entries
    ids.push(row.id)
  }
  if (ids.length === 0) return []
  const given =
    dialect === 'postgres'
      ? sql`id = any(${`{${ids.join(',')}}`}::bigint[])`
      : sql`id in (select value from json_each(${JSON.stringify(ids)}))`
  const { rows } = await sql<{ created_at_ms: number; body: string }>`
    delete from rollup_deltas where ${given} returning created_at_ms, body`.execute(transaction)
  return rows.map(({ created_at_ms, body }) => ({ createdAtMs: created_at_ms, body }))
}

/** What is not rolled up yet. */
export interface PendingDeltas {
  readonly deltas: number
  readonly readings: number
  /** When the oldest was stored, Unix milliseconds; null without any. */
  readonly oldestAtMs: number | null
}

export async function pendingDeltas(kysely: Kysely<Database>): Promise<PendingDeltas> {
  const { deltas, readings, oldest } = await kysely
    .selectFrom('rollup_deltas')
    .select(({ fn }) => [
      fn.countAll().as('deltas'),
      fn.sum('readings').as('readings'),
      fn.min('created_at_ms').as('oldest'),
    ])
    .executeTakeFirstOrThrow()
  return { deltas: Number(deltas), readings: Number(readings ?? 0), oldestAtMs: oldest }
}

/**
 * Adds sums to the roll-ups of one resolution. @param buckets by device and time, each once: the order in which every core
 * locks its rows.
 */
export async function addToRollups(
  dialect: Dialect,
  { table }: Resolution,
  buckets: readonly BucketRollup[],
  transaction: Transaction<Database>,
  drops: FieldDrops,
): Promise<void> {
  for (const slice of slices(buckets, ROWS_PER_STATEMENT[dialect])) {
    await nextTurn()
    let remaining = slice
    while (remaining.length > 0) {
      const { rows } = await selectRows(dialect, table, remaining).execute(transaction)
      const stored = new Map(rows.map((row) => [`${row.device_id}/${row.bucket_ms}`, row]))
      const changed: RollupRow[] = []
      const fresh: BucketRollup[] = []
      for (const bucket of remaining) {
        const row = stored.get(`${bucket.deviceId}/${bucket.bucketMs}`)
        if (row === undefined) fresh.push(bucket)
        else changed.push(addedTo(row, bucket, drops))
      }
      if (changed.length > 0) await replaceRows(dialect, table, changed).execute(transaction)
      if (fresh.length === 0) break
      const inserted = await insertRows(dialect, table, fresh.map(toRow)).execute(transaction)
      // Another core inserted the rest between our two statements; now they are there to be added to.
      const known = new Set(inserted.rows.map((row) => `${row.device_id}/${row.bucket_ms}`))
      remaining = fresh.filter((bucket) => !known.has(`${bucket.deviceId}/${bucket.bucketMs}`))
    }
  }
}

function addedTo(row: RollupRow, bucket: BucketRollup, drops: FieldDrops): RollupRow {
  const fields = decodeRollups(row.fields)
  for (const [name, rollup] of bucket.fields) mergeField(fields, name, rollup, drops)
  return { ...row, records: row.records + bucket.records, fields: encodeRollups(fields) }
}

function toRow({ deviceId, bucketMs, records, fields }: BucketRollup): RollupRow {
  return { device_id: deviceId, bucket_ms: bucketMs, records, fields: encodeRollups(fields) }
}

type RollupTable = Resolution['table']

/** The rows of these buckets; on PostgreSQL they are locked, on SQLite the transaction is the only writer as it is. */
function selectRows(dialect: Dialect, table: RollupTable, buckets: readonly BucketRollup[]): RawBuilder<RollupRow> {
  const columns = sql`stored.device_id, stored.bucket_ms, stored.records, stored.fields`
  if (dialect === 'postgres') {
    const times = buckets.map(({ bucketMs }) => bucketMs)
    const [first, last] = times.reduce(([low, high], ms) => [Math.min(low, ms), Math.max(high, ms)], [
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ] as [number, number])
    // The bounds let the planner leave out the other partitions.
    return sql`
      select ${columns} from unnest(
        ${arrayOf(buckets.map(({ deviceId }) => deviceId))}::int[], ${arrayOf(times)}::bigint[]
      ) as given (device_id, bucket_ms)
      join ${sql.table(table)} as stored on stored.device_id = given.device_id and stored.bucket_ms = given.bucket_ms
      where stored.bucket_ms between ${first}::bigint and ${last}::bigint
      order by stored.device_id, stored.bucket_ms for update of stored`
  }
  const keys = buckets.map(({ deviceId, bucketMs }) => [deviceId, bucketMs])
  // Cross join: SQLite keeps its order, so each row is looked up by its key.
  return sql`
    select ${columns} from json_each(${JSON.stringify(keys)}) as given
    cross join ${sql.table(table)} as stored
    where stored.device_id = given.value ->> 0 and stored.bucket_ms = given.value ->> 1`
}

/** Rows that exist; the conflict leads to each by the key, whatever the planner believes. */
function replaceRows(dialect: Dialect, table: RollupTable, rows: readonly RollupRow[]): RawBuilder<unknown> {
  return sql`${insert(dialect, table, rows)}
    on conflict (device_id, bucket_ms) do update set records = excluded.records, fields = excluded.fields`
}

/** Gives the keys of those that were not there. */
function insertRows(dialect: Dialect, table: RollupTable, rows: readonly RollupRow[]): RawBuilder<RollupRow> {
  return sql`${insert(dialect, table, rows)} on conflict do nothing returning device_id, bucket_ms`
}

function insert(dialect: Dialect, table: RollupTable, rows: readonly RollupRow[]): RawBuilder<unknown> {
  const into = sql`insert into ${sql.table(table)} (device_id, bucket_ms, records, fields)`
  if (dialect === 'postgres') {
    return sql`${into} select * from unnest(
        ${arrayOf(rows.map((row) => row.device_id))}::int[], ${arrayOf(rows.map((row) => row.bucket_ms))}::bigint[],
        ${arrayOf(rows.map((row) => row.records))}::int[],
        string_to_array(${rows.map((row) => row.fields).join(SEPARATOR)}::text, chr(1))
      ) as given (device_id, bucket_ms, records, fields) where true`
  }
  const tuples = rows.map((row) => [row.device_id, row.bucket_ms, row.records, row.fields])
  return sql`${into}
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(${JSON.stringify(tuples)}) where true`
}

/** As PostgreSQL reads it; pg's own way of writing arrays takes far longer. */
function arrayOf(numbers: readonly number[]): string {
  return `{${numbers.join(',')}}`
}

function* slices(buckets: readonly BucketRollup[], rowsMax: number): Generator<readonly BucketRollup[]> {
  let [start, entries] = [0, 0]
  for (let i = 0; i < buckets.length; i++) {
    const { size } = (buckets[i] as BucketRollup).fields
    if (i > start && (i - start >= rowsMax || entries + size > ENTRIES_PER_STATEMENT)) {
      yield buckets.slice(start, i)
      start = i
      entries = 0
    }
    entries += size
  }
  if (start < buckets.length) yield buckets.slice(start)
}
