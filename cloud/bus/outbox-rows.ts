/**
 * The statements of the outbox's table. Rows and ids are passed as a few parameters, arrays on PostgreSQL and JSON on
 * SQLite: compiling a statement with thousands of parameters costs more than running it.
 */

import { type RawBuilder, sql } from 'kysely'
import type { Dialect } from '../database/schema.ts'
import type { OutboxRecord } from './outbox.ts'

/** Adds rows, their ids in the order given. */
export function insertRows(dialect: Dialect, records: readonly OutboxRecord[], nowMs: number): RawBuilder<unknown> {
  const rows = records.map(({ topic, key, value, headers, owner, availableAtMs = nowMs }) => ({
    topic,
    key,
    value,
    headers: headers === undefined ? null : JSON.stringify(headers),
    owner: owner?.name ?? null,
    ownerId: owner?.id ?? null,
    availableAtMs,
  }))
  const given =
    dialect === 'postgres'
      ? sql`
          select * from unnest(
            ${rows.map((row) => row.topic)}::text[], ${rows.map((row) => row.key)}::text[],
            ${rows.map((row) => row.value)}::text[], ${rows.map((row) => row.headers)}::text[],
            ${rows.map((row) => row.owner)}::text[], ${rows.map((row) => row.ownerId)}::text[],
            ${rows.map((row) => row.availableAtMs)}::bigint[]
          ) with ordinality as row (topic, key, value, headers, owner, owner_id, available_at_ms, place)`
      : sql`
          select
            value ->> 'topic' as topic, value ->> 'key' as key, value ->> 'value' as value,
            value ->> 'headers' as headers, value ->> 'owner' as owner, value ->> 'ownerId' as owner_id,
            value ->> 'availableAtMs' as available_at_ms, json_each.key as place
          from json_each(${JSON.stringify(rows)})`
  return sql`
    insert into outbox (topic, key, value, headers, owner, owner_id, created_at_ms, available_at_ms)
    select topic, key, value, headers, owner, owner_id, cast(${nowMs} as bigint), available_at_ms
    from (${given}) as given
    order by place`
}
