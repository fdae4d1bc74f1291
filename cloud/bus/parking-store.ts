/** What consumers and their retries do with the tables of records that are set aside. */

import type { DatabaseHandle } from '../database/database.ts'
import type { ConsumedRecord } from './bus.ts'
import {
  addRecords,
  claimLanes,
  countLanes,
  countRecords,
  firstRecords,
  type LaneClaim,
  type LaneFate,
  type LaneRow,
  lanesAmong,
  lanesOfTopic,
  lanesWithMany,
  lastPlaces,
  lockLanes,
  type NewLane,
  putLanes,
  type RecordPlace,
  type RecordRow,
  releaseLanes,
  removeEmptyLanes,
  removeRecords,
  renewLanes,
  setFates,
} from './parked-rows.ts'

/** One transaction takes no more, so that SQLite's only connection is soon free again. */
const ROWS_MAX = 500
const BYTES_MAX = 4 * 1024 * 1024
/** Up to so many lanes of a topic are fetched whole rather than looked up one by one. */
const FEW_LANES = 50

export interface LaneRecord {
  readonly lane: string
  readonly record: ConsumedRecord
}

/** What became of records in hand. */
export interface Settlement {
  /** Handled or dead-lettered. */
  readonly done: readonly Pick<RecordRow, 'id' | 'lane_id'>[]
  readonly fates: readonly LaneFate[]
}

/** What is set aside of one group and topic. */
export interface ParkedCount {
  readonly group: string
  readonly topic: string
  readonly records: number
  readonly keys: number
  /** Since when the oldest of the keys is, Unix milliseconds. */
  readonly oldestMs: number
  /** When one may be retried next, Unix milliseconds. */
  readonly dueMs: number
}

export class ParkingStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Those of the lanes that are set aside: one statement while nothing, or little, of the topic is. */
  async lanesAside(group: string, topic: string, lanes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const { kysely, dialect } = this.database
    const some = await lanesOfTopic(group, topic, FEW_LANES).execute(kysely)
    if (some.rows.length < FEW_LANES)
      return new Set(some.rows.map(({ lane }) => lane).filter((lane) => lanes.has(lane)))
    const { rows } = await lanesAmong(dialect, group, topic, [...lanes]).execute(kysely)
    return new Set(rows.map(({ lane }) => lane))
  }

  /** Those of the lanes that have `rowsMin` records or more. */
  async lanesWithMany(
    group: string,
    topic: string,
    lanes: ReadonlySet<string>,
    rowsMin: number,
  ): Promise<ReadonlySet<string>> {
    const { kysely, dialect } = this.database
    const { rows } = await lanesWithMany(dialect, group, topic, [...lanes], rowsMin).execute(kysely)
    return new Set(rows.map(({ lane }) => lane))
  }

  /**
   * Adds records to lanes, which are made when they are not there; those of a lane in their order. Ends when all are durable.
   * Cut short anywhere it leaves the first records of each lane, and may be done again whole.
   */
  async setAside(
    group: string,
    topic: string,
    lanes: ReadonlyMap<string, NewLane>,
    records: readonly LaneRecord[],
    nowMs: number,
  ): Promise<void> {
    const { database } = this
    const { dialect } = database
    const put = new Set<string>()
    for (const some of slices(records)) {
      const touched = [...new Set(some.map(({ lane }) => lane))].map((name) => {
        const lane = lanes.get(name) as NewLane
        // What was tried so often went with an earlier part, and may be handled by now.
        return put.has(name) ? untriedLane(name, nowMs) : lane
      })
      for (const { lane } of touched) put.add(lane)
      await database.transaction(async (transaction) => {
        const { rows } = await putLanes(dialect, group, topic, touched, nowMs).execute(transaction)
        const laneIds = new Map(rows.map(({ lane, id }) => [lane, id]))
        const last = await lastPlaces(dialect, [...laneIds.values()]).execute(transaction)
        const lasts = new Map(last.rows.map((place) => [place.lane_id, place]))
        const added = some.flatMap(({ lane, record }) => {
          const laneId = laneIds.get(lane) as number
          return isDone(record, lasts.get(laneId)) ? [] : [{ laneId, record }]
        })
        if (added.length === 0) return
        for (const statement of addRecords(dialect, added)) await statement.execute(transaction)
      })
    }
  }

  async claim(claim: LaneClaim): Promise<LaneRow[]> {
    const { database } = this
    const { rows } = await database.transaction((transaction) => {
      return claimLanes(database.dialect, claim).execute(transaction)
    })
    return rows
  }

  async renew(group: string, holder: string, leaseUntilMs: number): Promise<void> {
    await renewLanes(group, holder, leaseUntilMs).execute(this.database.kysely)
  }

  /** Lets go of all lanes that `holder` has. */
  async release(group: string, holder: string): Promise<void> {
    await releaseLanes(group, holder).execute(this.database.kysely)
  }

  /** The first records of lanes, `perLane` of each at most; of some lanes none when they are many or large. */
  async first(laneIds: readonly number[], perLane: number): Promise<RecordRow[]> {
    const limits = { perLane, rowsMax: ROWS_MAX, bytesMax: BYTES_MAX }
    const { rows } = await firstRecords(this.database.dialect, laneIds, limits).execute(this.database.kysely)
    return rows
  }

  /**
   * Keeps what became of lanes, all or nothing; of lanes that are not the holder's any more, nothing.
   * @returns the ids of those that are the holder's and have records left
   */
  async settle(holder: string, { done, fates }: Settlement): Promise<ReadonlySet<number>> {
    const { database } = this
    const { dialect } = database
    return database.transaction(async (transaction) => {
      const laneIds = fates.map(({ id }) => id)
      const { rows } = await lockLanes(dialect, holder, laneIds).execute(transaction)
      const ours = new Set(rows.map(({ id }) => id))
      const ids = done.filter(({ lane_id }) => ours.has(lane_id)).map(({ id }) => id)
      if (ids.length > 0) await removeRecords(dialect, ids).execute(transaction)
      const kept = fates.filter(({ id }) => ours.has(id))
      if (kept.length === 0) return ours
      await setFates(dialect, kept).execute(transaction)
      const free = await removeEmptyLanes(dialect, [...ours]).execute(transaction)
      return ours.difference(new Set(free.rows.map(({ id }) => id)))
    })
  }

  async counts(nowMs: number): Promise<ParkedCount[]> {
    const { kysely } = this.database
    const { rows } = await countLanes(nowMs).execute(kysely)
    if (rows.length === 0) return []
    const records = new Map<string, number>()
    for (const row of (await countRecords().execute(kysely)).rows) {
      records.set(`${row.consumer_group} ${row.topic}`, Number(row.records))
    }
    return rows.map(({ consumer_group, topic, lanes, oldest_ms, due_ms }) => ({
      group: consumer_group,
      topic,
      records: records.get(`${consumer_group} ${topic}`) ?? 0,
      keys: Number(lanes),
      oldestMs: Number(oldest_ms),
      dueMs: Number(due_ms),
    }))
  }
}

/**
 * True when the record stands before the last one of its lane: a lane gets its records in their order, so what stands before
 * one of them was handled, or is there as well. Its batch came again because its offsets were not committed.
 */
function isDone(record: ConsumedRecord, last: RecordPlace | undefined): boolean {
  if (last === undefined || last.partition !== record.partition) return false
  return last.record_offset >= Number(record.offset) && last.timestamp_ms >= record.timestampMs
}

/** A lane whose first record nobody has tried by itself. */
export function untriedLane(lane: string, dueAtMs: number): NewLane {
  return { lane, tries: 0, errorCode: null, error: null, dueAtMs }
}

/** Parts of a list that one transaction takes each. */
function slices(records: readonly LaneRecord[]): LaneRecord[][] {
  const result: LaneRecord[][] = []
  let slice: LaneRecord[] = []
  let bytes = 0
  for (const each of records) {
    if (slice.length >= ROWS_MAX || (slice.length > 0 && bytes + each.record.value.length > BYTES_MAX)) {
      result.push(slice)
      slice = []
      bytes = 0
    }
    slice.push(each)
    bytes += each.record.value.length
  }
  if (slice.length > 0) result.push(slice)
  return result
}
