/** The table of readings: what came, once, by device, event time and sequence. */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { StoredReading } from './gathered-arrivals.ts'

/** Limits of one statement; one of SQLite runs on our only thread. */
const ROWS_PER_STATEMENT = { postgres: 5_000, sqlite: 500 } as const
const CHARS_PER_STATEMENT = 4 * 1024 * 1024
/** Parts one text into many; JSON text holds no control characters. */
const SEPARATOR = '\u0001'

/**
 * Stores them; gives those that were not there. @param readings in the order of the primary key, each once: two cores that
 * store the same wait for each other, and in two orders they would wait for ever.
 */
export async function storeReadings(
  dialect: Dialect,
  readings: readonly StoredReading[],
  transaction: Transaction<Database>,
): Promise<readonly StoredReading[]> {
  if (readings.length === 0) return []
  await sql`savepoint before_readings`.execute(transaction)
  let inserted = 0
  for (const slice of slices(readings, ROWS_PER_STATEMENT[dialect])) {
    await nextTurn()
    const { numAffectedRows = 0n } = await insert(dialect, slice).execute(transaction)
    inserted += Number(numAffectedRows)
  }
  if (inserted === readings.length) return readings
  // Seldom: which ones were new is asked only when some were not, since the answer costs as much as storing them.
  await sql`rollback to savepoint before_readings`.execute(transaction)
  const fresh: StoredReading[] = []
  for (const slice of slices(readings, ROWS_PER_STATEMENT[dialect])) {
    await nextTurn()
    const { rows } = await sql<Key>`${insert(dialect, slice)} returning device_id, at_ms, seq`.execute(transaction)
    const keys = new Set(rows.map(({ device_id, at_ms, seq }) => keyText(device_id, at_ms, seq)))
    for (const reading of slice) {
      if (keys.has(keyText(reading.deviceId, reading.atMs, reading.seq))) fresh.push(reading)
    }
  }
  return fresh
}

interface Key {
  readonly device_id: number
  readonly at_ms: number
  readonly seq: number
}

function keyText(deviceId: number, atMs: number, seq: number): string {
  return `${deviceId}/${atMs}/${seq}`
}

function insert(dialect: Dialect, readings: readonly StoredReading[]): RawBuilder<unknown> {
  // SQLite takes ON for a join's condition where a SELECT without WHERE stands before it.
  return sql`
    insert into readings (device_id, at_ms, seq, fields) ${given(dialect, readings)} where true on conflict do nothing`
}

function given(dialect: Dialect, readings: readonly StoredReading[]): RawBuilder<unknown> {
  if (dialect === 'postgres') {
    // Arrays as text that we join ourselves: pg's own way of writing them takes longer than the server to store them.
    return sql`
      select * from unnest(
        ${arrayOf(readings, ({ deviceId }) => deviceId)}::int[], ${arrayOf(readings, ({ atMs }) => atMs)}::bigint[],
        ${arrayOf(readings, ({ seq }) => seq)}::bigint[],
        string_to_array(${readings.map(({ text }) => text).join(SEPARATOR)}::text, chr(1))
      ) as given (device_id, at_ms, seq, fields)`
  }
  const tuples = readings.map(({ deviceId, atMs, seq, text }) => [deviceId, atMs, seq, text])
  return sql`
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(${JSON.stringify(tuples)})`
}

function arrayOf(readings: readonly StoredReading[], column: (reading: StoredReading) => number): string {
  return `{${readings.map(column).join(',')}}`
}

function* slices(readings: readonly StoredReading[], rowsMax: number): Generator<readonly StoredReading[]> {
  let [start, chars] = [0, 0]
  for (let i = 0; i < readings.length; i++) {
    const { length } = (readings[i] as StoredReading).text
    if (i > start && (i - start >= rowsMax || chars + length > CHARS_PER_STATEMENT)) {
      yield readings.slice(start, i)
      start = i
      chars = 0
    }
    chars += length
  }
  if (start < readings.length) yield readings.slice(start)
}
