/**
 * The statements of records that are set aside. Whoever changes a lane and its records locks the row of the lane first, and
 * several in the order of topic and lane.
 */

import { createHash } from 'node:crypto'
import { type RawBuilder, sql } from 'kysely'
import { givenRows } from '../database/given-rows.ts'
import type { Dialect } from '../database/schema.ts'
import type { ConsumedRecord } from './bus.ts'

/** A longer key is named by its digest: an index takes no text of any length. */
const LANE_CHARS_MAX = 400

/** What keeps its order within a topic: the records of a key, or one record alone that has none. */
export function laneOf({ key, partition, offset }: ConsumedRecord): string {
  if (key === null) return `${partition}/${offset}`
  const lane = JSON.stringify(key)
  return lane.length <= LANE_CHARS_MAX ? lane : `sha256:${createHash('sha256').update(lane).digest('hex')}`
}

export interface LaneName {
  readonly topic: string
  readonly lane: string
}

/** A lane as its first record is set aside. */
export interface NewLane {
  readonly lane: string
  readonly tries: number
  readonly errorCode: string | null
  readonly error: string | null
  readonly dueAtMs: number
}

export interface LaneRow extends LaneName {
  readonly tries: number
  readonly error_code: string | null
  readonly error: string | null
}

export interface RecordRow extends LaneName {
  readonly id: number
  readonly partition: number
  readonly record_offset: number
  readonly timestamp_ms: number
  readonly key: string | null
  readonly headers: string
  readonly value: Uint8Array
}

/** What becomes of a lane that was in hand. */
export interface LaneFate extends LaneName {
  readonly tries: number
  readonly errorCode: string | null
  readonly error: string | null
  readonly dueAtMs: number
  /** 1 when it stays in hand, 0 when whoever comes first may take it. */
  readonly held: 0 | 1
}

const LANE_NAME = { topic: 'text', lane: 'text' } as const
const FATE = {
  ...LANE_NAME,
  tries: 'integer',
  errorCode: 'text',
  error: 'text',
  dueAtMs: 'bigint',
  held: 'integer',
} as const

/** Up to `rowsMax` lanes of a topic, in any order; less than so many are all. */
export function lanesOfTopic(group: string, topic: string, rowsMax: number): RawBuilder<{ lane: string }> {
  return sql`select lane from parked_lanes where consumer_group = ${group} and topic = ${topic} limit ${rowsMax}`
}

/** Those of the lanes that are set aside. */
export function lanesAmong(dialect: Dialect, group: string, names: readonly LaneName[]): RawBuilder<{ lane: string }> {
  return sql`
    select lane from parked_lanes
    where consumer_group = ${group} and (topic, lane) in (${namesGiven(dialect, names)})`
}

/** Makes lanes, and locks those that are there. */
export function putLanes(
  dialect: Dialect,
  group: string,
  topic: string,
  lanes: readonly NewLane[],
  nowMs: number,
): RawBuilder<unknown> {
  const columns = { lane: 'text', tries: 'integer', errorCode: 'text', error: 'text', dueAtMs: 'bigint' } as const
  const rows = lanes.map(({ lane, tries, errorCode, error, dueAtMs }) => ({ lane, tries, errorCode, error, dueAtMs }))
  return sql`
    insert into parked_lanes (consumer_group, topic, lane, parked_at_ms, tries, error_code, error, due_at_ms)
    select ${group}, ${topic}, lane, cast(${nowMs} as bigint), tries, "errorCode", error, "dueAtMs"
    from ${givenRows(dialect, columns, rows)}
    where true order by lane
    on conflict (consumer_group, topic, lane) do update set due_at_ms = parked_lanes.due_at_ms`
}

/**
 * Adds records to their lanes, in the order given, one statement or several. A record that stands before another one of its
 * lane and partition was handled already: a lane gets its records in their order, so what is not there any more is done.
 * It comes again only when its offsets were not committed.
 */
export function addRecords(
  dialect: Dialect,
  group: string,
  topic: string,
  records: readonly { readonly lane: string; readonly record: ConsumedRecord }[],
): RawBuilder<unknown>[] {
  const rows = records.map(({ lane, record }) => ({
    lane,
    partition: record.partition,
    offset: Number(record.offset),
    timestampMs: record.timestampMs,
    key: record.key === null ? null : JSON.stringify(record.key),
    headers: JSON.stringify(record.headers),
    value: record.value,
  }))
  const into = sql`
    insert into parked_records
      (consumer_group, topic, lane, "partition", record_offset, timestamp_ms, key, headers, value)`
  const unlessDone = sql`
    where not exists (
      select 1 from parked_records as later
      where later.consumer_group = ${group} and later.topic = ${topic} and later.lane = given.lane
        and later."partition" = given."partition" and later.record_offset >= given.record_offset
        and later.timestamp_ms >= given.timestamp_ms
    )`
  if (dialect === 'postgres') {
    const statement = sql`
      ${into}
      select ${group}, ${topic}, lane, "partition", record_offset, timestamp_ms, key, headers, value
      from unnest(
        ${rows.map((row) => row.lane)}::text[], ${rows.map((row) => row.partition)}::integer[],
        ${rows.map((row) => row.offset)}::bigint[], ${rows.map((row) => row.timestampMs)}::bigint[],
        ${rows.map((row) => row.key)}::text[], ${rows.map((row) => row.headers)}::text[],
        ${rows.map((row) => row.value)}::bytea[]
      ) with ordinality as given (lane, "partition", record_offset, timestamp_ms, key, headers, value, place)
      ${unlessDone} order by place on conflict do nothing`
    return [statement]
  }
  return rows.map(
    (row) => sql`
      ${into}
      select ${group}, ${topic}, lane, "partition", record_offset, timestamp_ms, key, headers, value
      from (
        select ${row.lane} as lane, ${row.partition} as "partition", ${row.offset} as record_offset,
          ${row.timestampMs} as timestamp_ms, ${row.key} as key, ${row.headers} as headers, ${row.value} as value
      ) as given
      ${unlessDone} on conflict do nothing`,
  )
}

export interface LaneClaim {
  readonly group: string
  readonly topics: readonly string[]
  readonly holder: string
  readonly nowMs: number
  readonly leaseUntilMs: number
  /** What is due by then is claimed. */
  readonly dueByMs: number
  /** What is due after that is claimed as well: only a clock that was set back made it so late. */
  readonly dueLatestMs: number
  readonly lanesMax: number
}

/** Leases lanes that are due and nobody holds, those due first before others; in any order. */
export function claimLanes(dialect: Dialect, claim: LaneClaim): RawBuilder<LaneRow> {
  const { group, topics, holder, nowMs, leaseUntilMs, dueByMs, dueLatestMs, lanesMax } = claim
  const skipLocked = dialect === 'postgres' ? sql`for update skip locked` : sql``
  return sql`
    with due as (
      select topic, lane from parked_lanes
      where consumer_group = ${group} and topic in (${sql.join(topics)})
        and (due_at_ms <= ${dueByMs} or due_at_ms > ${dueLatestMs})
        and (lease_until_ms is null or lease_until_ms <= ${nowMs})
      order by due_at_ms limit ${lanesMax} ${skipLocked}
    )
    update parked_lanes set lease_by = ${holder}, lease_until_ms = ${leaseUntilMs}
    where consumer_group = ${group} and (topic, lane) in (select topic, lane from due)
    returning topic, lane, tries, error_code, error`
}

export function renewLanes(group: string, holder: string, leaseUntilMs: number): RawBuilder<unknown> {
  return sql`
    update parked_lanes set lease_until_ms = ${leaseUntilMs} where consumer_group = ${group} and lease_by = ${holder}`
}

export function releaseLanes(group: string, holder: string): RawBuilder<unknown> {
  return sql`
    update parked_lanes set lease_by = null, lease_until_ms = null
    where consumer_group = ${group} and lease_by = ${holder}`
}

/**
 * The first records of lanes, `perLane` of each at most, in their order.
 * @param bytesMax of their values; one record is given whatever its size
 */
export function firstRecords(
  dialect: Dialect,
  group: string,
  names: readonly LaneName[],
  { perLane, rowsMax, bytesMax }: { readonly perLane: number; readonly rowsMax: number; readonly bytesMax: number },
): RawBuilder<RecordRow> {
  return sql`
    with placed as (
      select id, length(value) as size, row_number() over (partition by topic, lane order by id) as place
      from parked_records
      where consumer_group = ${group} and (topic, lane) in (${namesGiven(dialect, names)})
    ), sized as (
      select id, sum(size) over (order by id) - size as size_before from placed where place <= ${perLane}
      order by id limit ${rowsMax}
    )
    select id, topic, lane, "partition", record_offset, timestamp_ms, key, headers, value from parked_records
    where id in (select id from sized where size_before < ${bytesMax}) order by id`
}

/** Those of the lanes that are still the holder's, locked. */
export function lockLanes(
  dialect: Dialect,
  group: string,
  holder: string,
  names: readonly LaneName[],
): RawBuilder<LaneName> {
  const forUpdate = dialect === 'postgres' ? sql`for update` : sql``
  return sql`
    select topic, lane from parked_lanes
    where consumer_group = ${group} and lease_by = ${holder} and (topic, lane) in (${namesGiven(dialect, names)})
    order by topic, lane ${forUpdate}`
}

export function removeRecords(dialect: Dialect, ids: readonly number[]): RawBuilder<unknown> {
  const rows = ids.map((id) => ({ id }))
  return sql`delete from parked_records where id in (select id from ${givenRows(dialect, { id: 'bigint' }, rows)})`
}

/** Removes the lanes that have no record left, and gives them. */
export function removeEmptyLanes(dialect: Dialect, group: string, names: readonly LaneName[]): RawBuilder<LaneName> {
  return sql`
    delete from parked_lanes
    where consumer_group = ${group} and (topic, lane) in (${namesGiven(dialect, names)})
      and not exists (
        select 1 from parked_records as record
        where record.consumer_group = parked_lanes.consumer_group and record.topic = parked_lanes.topic
          and record.lane = parked_lanes.lane
      )
    returning topic, lane`
}

export function setFates(dialect: Dialect, group: string, fates: readonly LaneFate[]): RawBuilder<unknown> {
  const rows = fates.map(({ topic, lane, tries, errorCode, error, dueAtMs, held }) => ({
    ...{ topic, lane, tries, errorCode, error, dueAtMs, held },
  }))
  return sql`
    update parked_lanes set
      tries = given.tries, error_code = given."errorCode", error = given.error, due_at_ms = given."dueAtMs",
      lease_by = case when given.held = 1 then lease_by end,
      lease_until_ms = case when given.held = 1 then lease_until_ms end
    from ${givenRows(dialect, FATE, rows)}
    where parked_lanes.consumer_group = ${group} and parked_lanes.topic = given.topic and parked_lanes.lane = given.lane`
}

export interface LaneCountRow {
  readonly consumer_group: string
  readonly topic: string
  readonly lanes: number
  readonly oldest_ms: number
  /** When the next one is due that nobody holds; null when all are held. */
  readonly due_ms: number | null
}

export function countLanes(nowMs: number): RawBuilder<LaneCountRow> {
  return sql`
    select consumer_group, topic, count(*) as lanes, min(parked_at_ms) as oldest_ms,
      min(case when lease_until_ms is null or lease_until_ms <= ${nowMs} then due_at_ms else lease_until_ms end) as due_ms
    from parked_lanes group by consumer_group, topic`
}

export function countRecords(): RawBuilder<{ consumer_group: string; topic: string; records: number }> {
  return sql`select consumer_group, topic, count(*) as records from parked_records group by consumer_group, topic`
}

function namesGiven(dialect: Dialect, names: readonly LaneName[]): RawBuilder<unknown> {
  const rows = names.map(({ topic, lane }) => ({ topic, lane }))
  return sql`select topic, lane from ${givenRows(dialect, LANE_NAME, rows)}`
}
