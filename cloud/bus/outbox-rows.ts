/**
 * The statements of the outbox's table. Rows and ids are passed as a few parameters, arrays on PostgreSQL and JSON on
 * SQLite: compiling a statement with thousands of parameters costs more than running it.
 */

import { type RawBuilder, type Selectable, sql } from 'kysely'
import type { Dialect, OutboxTable } from '../database/schema.ts'
import type { OutboxRecord } from './outbox.ts'

/** A row as it is claimed. */
export type OutboxRow = Pick<Selectable<OutboxTable>, 'id' | 'topic' | 'key' | 'value' | 'headers' | 'failures'>
/** Who is told of a row. */
export type OwnedRow = Pick<Selectable<OutboxTable>, 'id' | 'owner' | 'owner_id'>

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

export interface Claim {
  readonly coreId: string
  readonly nowMs: number
  readonly leaseUntilMs: number
  /** A row that failed as often is set aside. */
  readonly failuresMax: number
  readonly rowsMax: number
  /** Characters of the values; one row is taken whatever its size. */
  readonly sizeMax: number
  readonly withoutTopics: readonly string[]
}

/**
 * Leases what is due, in the order of the ids, and gives it in any order. Rows of a key that somebody is publishing wait
 * until that is done, so that a key keeps its order whichever core publishes it. To be run under `lockClaims`.
 */
export function claimRows(dialect: Dialect, claim: Claim): RawBuilder<OutboxRow> {
  const { coreId, nowMs, leaseUntilMs, failuresMax, rowsMax, sizeMax, withoutTopics } = claim
  // Rows locked by somebody who withdraws them are left alone rather than waited for.
  const skipLocked = dialect === 'postgres' ? sql`for update skip locked` : sql``
  return sql`
    with busy as (
      select topic, key from outbox where sent_at_ms is null and lease_until_ms > ${nowMs} and key is not null
    ), due as (
      select id, length(value) as size from outbox
      where sent_at_ms is null and ${isDue(nowMs)} and failures < ${failuresMax}
        and (lease_until_ms is null or lease_until_ms <= ${nowMs})
        and topic not in (${given(dialect, withoutTopics, 'text')})
        and (key is null or (topic, key) not in (select topic, key from busy))
      order by id limit ${rowsMax} ${skipLocked}
    ), sized as (
      select id, sum(size) over (order by id) - size as size_before from due
    )
    update outbox set lease_by = ${coreId}, lease_until_ms = ${leaseUntilMs}
    where id in (select id from sized where size_before < ${sizeMax})
    returning id, topic, key, value, headers, failures`
}

/**
 * What is to be published at once is due whatever this core's clock says: the clock of the core that stored it may be ahead, or
 * may have been set back since, and later rows of its key would overtake it.
 */
export function isDue(nowMs: number): RawBuilder<boolean> {
  return sql<boolean>`(available_at_ms <= ${nowMs} or available_at_ms = created_at_ms)`
}

/** Any constant of our own; another one than that of migrations. */
const CLAIM_LOCK = 0x6f757462

/**
 * One claim at a time, to the end of the transaction: of two side by side neither would see what keys the other takes.
 * On SQLite the transaction itself is the lock.
 */
export function lockClaims(dialect: Dialect): RawBuilder<unknown> | null {
  return dialect === 'postgres' ? sql`select pg_advisory_xact_lock(${CLAIM_LOCK})` : null
}

export function renewRows(
  dialect: Dialect,
  ids: readonly number[],
  coreId: string,
  leaseUntilMs: number,
): RawBuilder<unknown> {
  return sql`
    update outbox set lease_until_ms = ${leaseUntilMs}
    where id in (${given(dialect, ids, 'bigint')}) and lease_by = ${coreId} and sent_at_ms is null`
}

/** Ends leases. `lease_by` stays: the bus may have the record, so it cannot be withdrawn any more. */
export function releaseRows(dialect: Dialect, ids: readonly number[], coreId: string): RawBuilder<unknown> {
  return sql`
    update outbox set lease_until_ms = null
    where id in (${given(dialect, ids, 'bigint')}) and lease_by = ${coreId} and sent_at_ms is null`
}

/** Those that were not marked before, in any order. */
export function markSent(dialect: Dialect, ids: readonly number[], sentAtMs: number): RawBuilder<OwnedRow> {
  return sql`
    update outbox set sent_at_ms = ${sentAtMs}, lease_until_ms = null, error = null
    where id in (${given(dialect, ids, 'bigint')}) and sent_at_ms is null
    returning id, owner, owner_id`
}

/** Like `markSent`, where what was sent is not kept. */
export function removeSent(dialect: Dialect, ids: readonly number[]): RawBuilder<OwnedRow> {
  return sql`
    delete from outbox where id in (${given(dialect, ids, 'bigint')}) and sent_at_ms is null
    returning id, owner, owner_id`
}

/** Removes at most `rowsMax` rows that were sent before `beforeMs`. */
export function purgeSent(dialect: Dialect, beforeMs: number, rowsMax: number): RawBuilder<unknown> {
  const skipLocked = dialect === 'postgres' ? sql`for update skip locked` : sql``
  return sql`
    delete from outbox
    where id in (
      select id from outbox where sent_at_ms < ${beforeMs} order by sent_at_ms limit ${rowsMax} ${skipLocked}
    )`
}

function given(dialect: Dialect, values: readonly (string | number)[], type: 'text' | 'bigint'): RawBuilder<unknown> {
  if (dialect === 'postgres') return sql`select unnest(${values}::${sql.raw(type)}[])`
  return sql`select value from json_each(${JSON.stringify(values)})`
}
