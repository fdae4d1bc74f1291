/**
 * The statements of records that are set aside. Whoever changes a lane or its records locks the row of the lane first, and
 * several in the order of topic and lane. Records refer to their lane by id, so that plans are good without statistics: the
 * tables are empty most of the time, and thousands of rows long when it matters.
 */

import { createHash } from 'node:crypto'
import { type RawBuilder, sql } from 'kysely'
import { givenRows, givenTexts } from '../database/given-rows.ts'
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

/** A lane as its first record is set aside. */
export interface NewLane {
  readonly lane: string
  readonly tries: number
  readonly errorCode: string | null
  readonly error: string | null
  readonly dueAtMs: number
}

/** A lane in hand. */
export interface LaneRow {
  readonly id: number
  readonly topic: string
  readonly tries: number
  readonly error_code: string | null
  readonly error: string | null
}

export interface RecordRow {
  readonly id: number
  readonly lane_id: number
  readonly partition: number
  readonly record_offset: number
  readonly timestamp_ms: number
  readonly key: string | null
  readonly headers: string
  readonly value: Uint8Array
}

/** Where a record stood on the bus. */
export type RecordPlace = Pick<RecordRow, 'lane_id' | 'partition' | 'record_offset' | 'timestamp_ms'>

/** What becomes of a lane that was in hand. */
export interface LaneFate {
  readonly id: number
  readonly tries: number
  readonly errorCode: string | null
  readonly error: string | null
  readonly dueAtMs: number
  /** 1 when it stays in hand, 0 when whoever comes first may take it. */
  readonly held: 0 | 1
}

const NEW_LANE = { lane: 'text', tries: 'integer', errorCode: 'text', error: 'text', dueAtMs: 'bigint' } as const
const FATE = {
  id: 'bigint',
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
export function lanesAmong(
  dialect: Dialect,
  group: string,
  topic: string,
  lanes: readonly string[],
): RawBuilder<{ lane: string }> {
  return sql`
    select lane from parked_lanes
    where consumer_group = ${group} and topic = ${topic} and lane in ${givenTexts(dialect, lanes)}`
}

/** Those of the lanes that have `rowsMin` records or more. */
export function lanesWithMany(
  dialect: Dialect,
  group: string,
  topic: string,
  lanes: readonly string[],
  rowsMin: number,
): RawBuilder<{ lane: string }> {
  return sql`
    select lane from parked_lanes join parked_records on lane_id = parked_lanes.id
    where consumer_group = ${group} and topic = ${topic} and lane in ${givenTexts(dialect, lanes)}
    group by lane having count(*) >= ${rowsMin}`
}

/** Makes lanes, and locks those that are there. */
export function putLanes(
  dialect: Dialect,
  group: string,
  topic: string,
  lanes: readonly NewLane[],
  nowMs: number,
): RawBuilder<{ id: number; lane: string }> {
  const rows = lanes.map(({ lane, tries, errorCode, error, dueAtMs }) => ({ lane, tries, errorCode, error, dueAtMs }))
  return sql`
    insert into parked_lanes (consumer_group, topic, lane, parked_at_ms, tries, error_code, error, due_at_ms)
    select ${group}, ${topic}, lane, cast(${nowMs} as bigint), tries, "errorCode", error, "dueAtMs"
    from ${givenRows(dialect, NEW_LANE, rows)}
    where true order by lane
    on conflict (consumer_group, topic, lane) do update set due_at_ms = parked_lanes.due_at_ms
    returning id, lane`
}

/** The last record of each lane that has any. */
export function lastPlaces(dialect: Dialect, laneIds: readonly number[]): RawBuilder<RecordPlace> {
  return sql`
    select lane_id, "partition", record_offset, timestamp_ms from parked_records
    where id in (select max(id) from parked_records where lane_id in (${idsGiven(dialect, laneIds)}) group by lane_id)`
}

/** Adds records to their lanes, in the order given, but for those that are there; one statement or several. */
export function addRecords(
  dialect: Dialect,
  records: readonly { readonly laneId: number; readonly record: ConsumedRecord }[],
): RawBuilder<unknown>[] {
  const into = sql`
    insert into parked_records (lane_id, "partition", record_offset, timestamp_ms, key, headers, value)`
  const keyOf = ({ key }: ConsumedRecord) => (key === null ? null : JSON.stringify(key))
  if (dialect === 'sqlite') {
    return records.map(({ laneId, record }) => {
      const { partition, offset, timestampMs, headers, value } = record
      const place = sql`${laneId}, ${partition}, ${Number(offset)}, ${timestampMs}`
      return sql`${into} values (${place}, ${keyOf(record)}, ${JSON.stringify(headers)}, ${value}) on conflict do nothing`
    })
  }
  const statement = sql`
    ${into}
    select lane_id, "partition", record_offset, timestamp_ms, key, headers, value
    from unnest(
      ${records.map(({ laneId }) => laneId)}::bigint[],
      ${records.map(({ record }) => record.partition)}::integer[],
      ${records.map(({ record }) => String(record.offset))}::bigint[],
      ${records.map(({ record }) => record.timestampMs)}::bigint[],
      ${records.map(({ record }) => keyOf(record))}::text[],
      ${records.map(({ record }) => JSON.stringify(record.headers))}::text[],
      ${records.map(({ record }) => record.value)}::bytea[]
    ) with ordinality as given (lane_id, "partition", record_offset, timestamp_ms, key, headers, value, place)
    order by place on conflict do nothing`
  return [statement]
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
      select id from parked_lanes
      where consumer_group = ${group} and topic in (${sql.join(topics)})
        and (due_at_ms <= ${dueByMs} or due_at_ms > ${dueLatestMs})
        and (lease_until_ms is null or lease_until_ms <= ${nowMs})
      order by due_at_ms limit ${lanesMax} ${skipLocked}
    )
    update parked_lanes set lease_by = ${holder}, lease_until_ms = ${leaseUntilMs}
    where id in (select id from due)
    returning id, topic, tries, error_code, error`
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
  laneIds: readonly number[],
  { perLane, rowsMax, bytesMax }: { readonly perLane: number; readonly rowsMax: number; readonly bytesMax: number },
): RawBuilder<RecordRow> {
  return sql`
    with placed as (
      select id, length(value) as size, row_number() over (partition by lane_id order by id) as place
      from parked_records where lane_id in (${idsGiven(dialect, laneIds)})
    ), sized as (
      select id, sum(size) over (order by id) - size as size_before from placed where place <= ${perLane}
      order by id limit ${rowsMax}
    )
    select id, lane_id, "partition", record_offset, timestamp_ms, key, headers, value from parked_records
    where id in (select id from sized where size_before < ${bytesMax}) order by id`
}

/** Those of the lanes that are still the holder's, locked. */
export function lockLanes(dialect: Dialect, holder: string, laneIds: readonly number[]): RawBuilder<{ id: number }> {
  const forUpdate = dialect === 'postgres' ? sql`for update` : sql``
  return sql`
    select id from parked_lanes where id in (${idsGiven(dialect, laneIds)}) and lease_by = ${holder}
    order by topic, lane ${forUpdate}`
}

export function removeRecords(dialect: Dialect, ids: readonly number[]): RawBuilder<unknown> {
  return sql`delete from parked_records where id in (${idsGiven(dialect, ids)})`
}

/** Removes the lanes that have no record left, and gives them. */
export function removeEmptyLanes(dialect: Dialect, laneIds: readonly number[]): RawBuilder<{ id: number }> {
  return sql`
    delete from parked_lanes
    where id in (${idsGiven(dialect, laneIds)})
      and not exists (select 1 from parked_records where parked_records.lane_id = parked_lanes.id)
    returning id`
}

export function setFates(dialect: Dialect, fates: readonly LaneFate[]): RawBuilder<unknown> {
  const rows = fates.map(({ id, tries, errorCode, error, dueAtMs, held }) => {
    return { id, tries, errorCode, error, dueAtMs, held }
  })
  return sql`
    update parked_lanes set
      tries = given.tries, error_code = given."errorCode", error = given.error, due_at_ms = given."dueAtMs",
      lease_by = case when given.held = 1 then lease_by end,
      lease_until_ms = case when given.held = 1 then lease_until_ms end
    from ${givenRows(dialect, FATE, rows)}
    where parked_lanes.id = given.id`
}

export interface LaneCountRow {
  readonly consumer_group: string
  readonly topic: string
  readonly lanes: number
  readonly oldest_ms: number
  /** When the next one may be claimed. */
  readonly due_ms: number
}

export function countLanes(nowMs: number): RawBuilder<LaneCountRow> {
  return sql`
    select consumer_group, topic, count(*) as lanes, min(parked_at_ms) as oldest_ms,
      min(case when lease_until_ms is null or lease_until_ms <= ${nowMs} then due_at_ms else lease_until_ms end) as due_ms
    from parked_lanes group by consumer_group, topic`
}

export function countRecords(): RawBuilder<{ consumer_group: string; topic: string; records: number }> {
  return sql`
    select consumer_group, topic, count(*) as records
    from parked_records join parked_lanes on parked_lanes.id = parked_records.lane_id
    group by consumer_group, topic`
}

function idsGiven(dialect: Dialect, ids: readonly number[]): RawBuilder<unknown> {
  if (dialect === 'postgres') return sql`select unnest(${ids}::bigint[])`
  return sql`select value from json_each(${JSON.stringify(ids)})`
}
