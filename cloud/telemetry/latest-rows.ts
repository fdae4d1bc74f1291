/**
 * The statements of the table of latest values for many rows at once. Each passes the rows as a few parameters, arrays
 * on PostgreSQL and JSON on SQLite: compiling a statement with thousands of parameters costs more than running it.
 */

import { type RawBuilder, type Selectable, sql } from 'kysely'
import type { Dialect, LatestValuesTable } from '../database/schema.ts'

export type LatestRow = Selectable<LatestValuesTable>

/** The rows of these devices; on PostgreSQL they are locked, on SQLite the transaction is the only writer as it is. */
export function selectRows(dialect: Dialect, deviceIds: readonly number[]): RawBuilder<LatestRow> {
  if (dialect === 'postgres') {
    return sql`select * from latest_values where device_id = any(${deviceIds}::int[]) order by device_id for update`
  }
  const ids = JSON.stringify(deviceIds)
  return sql`select * from latest_values where device_id in (select value from json_each(${ids})) order by device_id`
}

/** Replaces the values of rows that exist. */
export function replaceRows(dialect: Dialect, rows: readonly LatestRow[]): RawBuilder<unknown> {
  return sql`
    update latest_values
    set telemetry = given.telemetry, event_at_ms = given.event_at_ms, received_at_ms = given.received_at_ms,
      heard_at_ms = given.heard_at_ms
    from (${given(dialect, rows)}) as given
    where latest_values.device_id = given.device_id`
}

/** Adds rows; those that exist stay as they are. Gives the ids of those added. */
export function insertRows(dialect: Dialect, rows: readonly LatestRow[]): RawBuilder<Pick<LatestRow, 'device_id'>> {
  // SQLite takes ON for a join's condition where a SELECT without WHERE stands before it.
  return sql`
    insert into latest_values (device_id, site_id, serial_number, telemetry, event_at_ms, received_at_ms, heard_at_ms)
    select device_id, site_id, serial_number, telemetry, event_at_ms, received_at_ms, heard_at_ms
    from (${given(dialect, rows)}) as given
    where true
    on conflict (device_id) do nothing
    returning device_id`
}

function given(dialect: Dialect, rows: readonly LatestRow[]): RawBuilder<LatestRow> {
  if (dialect === 'postgres') {
    return sql`
      select * from unnest(
        ${rows.map((row) => row.device_id)}::int[], ${rows.map((row) => row.site_id)}::int[],
        ${rows.map((row) => row.serial_number)}::text[], ${rows.map((row) => row.telemetry)}::text[],
        ${rows.map((row) => row.event_at_ms)}::bigint[], ${rows.map((row) => row.received_at_ms)}::bigint[],
        ${rows.map((row) => row.heard_at_ms)}::bigint[]
      ) as row (device_id, site_id, serial_number, telemetry, event_at_ms, received_at_ms, heard_at_ms)`
  }
  const tuples = rows.map((row) => [
    row.device_id,
    row.site_id,
    row.serial_number,
    row.telemetry,
    row.event_at_ms,
    row.received_at_ms,
    row.heard_at_ms,
  ])
  return sql`
    select
      value ->> 0 as device_id, value ->> 1 as site_id, value ->> 2 as serial_number, value ->> 3 as telemetry,
      value ->> 4 as event_at_ms, value ->> 5 as received_at_ms, value ->> 6 as heard_at_ms
    from json_each(${JSON.stringify(tuples)})`
}
