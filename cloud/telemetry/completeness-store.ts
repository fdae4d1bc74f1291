/** What the database knows of the completeness of readings: counts of what arrived, and what gateways gave up. */

import { type RawBuilder, sql } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import { ANALYTICS_GROUP, DEVICE_TELEMETRY } from '../bus/catalogue.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Dialect } from '../database/schema.ts'
import { DEAD_LETTERS_MAX, type Loss, type LostRange, type Underway } from './completeness.ts'
import type { Resolution } from './rollup.ts'
import type { Steps, Stretch } from './series-plan.ts'

/** Gaps shown of one gateway; their sums count all. */
const GAPS_SHOWN_MAX = 100
/** A year of days of 200 devices is read in some 30 ms, during which SQLite lets nothing else run. */
const DEVICES_PER_STATEMENT = { postgres: 2_000, sqlite: 200 } as const
/** Gateways that one device may have moved between in the stretch and that are looked at. */
const FORMER_GATEWAYS_MAX = 20

/** Who gives up what devices send before it is on the bus. */
const INGEST_SOURCE = 'ingest'

/** One device, or all of a site. */
export type Subject = { readonly deviceId: number } | { readonly siteId: number }

export interface GatewayLosses {
  readonly lost: Loss[]
  readonly lostAtUnknownTime: Loss[]
  readonly gaps: LostRange[]
}

export class CompletenessStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Devices that the subject has. */
  async devices(subject: Subject): Promise<number> {
    if ('deviceId' in subject) return 1
    const query = this.database.kysely.selectFrom('devices').select((e) => e.fn.countAll().as('devices'))
    return Number((await query.where('site_id', '=', subject.siteId).executeTakeFirstOrThrow()).devices)
  }

  /** Readings in each step that has any, by time. */
  async counts(subject: Subject, { table }: Resolution, steps: Steps): Promise<{ atMs: number; records: number }[]> {
    const counts = new Map<number, number>()
    for await (const ids of this.deviceIds(subject)) {
      const { rows } = await sql<{ step: number; records: number }>`
        select cast((bucket_ms - ${steps.fromMs}) / ${steps.stepMs} as integer) as step, cast(sum(records) as bigint) as records
        from ${sql.table(table)}
        where ${among(this.database.dialect, 'device_id', ids)}
          and bucket_ms >= ${steps.fromMs} and bucket_ms < ${steps.toMs}
        group by 1`.execute(this.database.kysely)
      for (const { step, records } of rows) counts.set(step, (counts.get(step) ?? 0) + records)
    }
    return [...counts]
      .sort(([a], [b]) => a - b)
      .map(([step, records]) => ({ atMs: steps.fromMs + step * steps.stepMs, records }))
  }

  /** Readings of all devices that are stored and not counted in any roll-up yet. */
  async uncounted(): Promise<number> {
    const { rows } = await sql<{ readings: number | null }>`
      select cast(sum(readings) as bigint) as readings from rollup_deltas`.execute(this.database.kysely)
    return rows[0]?.readings ?? 0
  }

  /** Event times of the first and the last reading that is kept. */
  async ends(subject: Subject, { fromMs, toMs }: Stretch): Promise<{ firstMs: number | null; lastMs: number | null }> {
    let [firstMs, lastMs]: [number | null, number | null] = [null, null]
    const within = sql`device_id = each.id and at_ms >= ${fromMs} and at_ms < ${toMs}`
    for await (const ids of this.deviceIds(subject)) {
      const { rows } = await sql<{ first_ms: number | null; last_ms: number | null }>`
        select min(first_ms) as first_ms, max(last_ms) as last_ms from (
          select
            (select min(at_ms) from readings where ${within}) as first_ms,
            (select max(at_ms) from readings where ${within}) as last_ms
          from devices as each where ${among(this.database.dialect, 'id', ids)}
        ) as ends`.execute(this.database.kysely)
      const { first_ms = null, last_ms = null } = rows[0] ?? {}
      if (first_ms !== null) firstMs = Math.min(firstMs ?? first_ms, first_ms)
      if (last_ms !== null) lastMs = Math.max(lastMs ?? last_ms, last_ms)
    }
    return { firstMs, lastMs }
  }

  /**
   * Gateways that changes of the device's status in the stretch came from, and the last one before it: it may have been behind
   * another one then.
   */
  async formerGateways(deviceId: number, { fromMs, toMs }: Stretch): Promise<string[]> {
    // What the cloud found out itself came from none; its name is none that a gateway can have.
    const told = sql`device_id = ${deviceId} and gateway_id not like '$%'`
    const { rows } = await sql<{ gateway_id: string }>`
      select gateway_id from (
        select gateway_id from status_history where ${told} and at_ms < ${fromMs} order by at_ms desc, seq desc limit 1
      ) as before
      union
      select gateway_id from status_history where ${told} and at_ms >= ${fromMs} and at_ms < ${toMs}
      limit ${FORMER_GATEWAYS_MAX}`.execute(this.database.kysely)
    return rows.map(({ gateway_id }) => gateway_id)
  }

  /** Readings of the subject that analytics has set aside, and its dead letters since `fromMs` that were not replayed. */
  async notTakenIn(subject: Subject, fromMs: number): Promise<Pick<Underway, 'setAside' | 'deadLetters'>> {
    const whose = 'deviceId' in subject ? sql`id = ${subject.deviceId}` : sql`site_id = ${subject.siteId}`
    // A lane is the key as JSON, and no serial number holds what JSON escapes.
    const { rows } = await sql<{ set_aside: number; dead_letters: number }>`
      select
        (select cast(count(*) as integer) from parked_lanes join parked_records on lane_id = parked_lanes.id
          where consumer_group = ${ANALYTICS_GROUP} and topic = ${DEVICE_TELEMETRY}
            and lane in (select '"' || serial_number || '"' from devices where ${whose})) as set_aside,
        (select cast(count(*) as integer) from (
          select 1 from dead_letters
          where part = 1 and replayed_at_ms is null and created_at_ms >= ${fromMs} and original_topic = ${DEVICE_TELEMETRY}
            and source in (${ANALYTICS_GROUP}, ${INGEST_SOURCE})
            and key in (select serial_number from devices where ${whose})
          limit ${DEAD_LETTERS_MAX}) as letters) as dead_letters`.execute(this.database.kysely)
    return { setAside: rows[0]?.set_aside ?? 0, deadLetters: rows[0]?.dead_letters ?? 0 }
  }

  /**
   * What each gateway gave up of its telemetry. A gap concerns the stretch when it meets it; of one without times that is
   * possible when it was given up after the begin of the stretch.
   */
  async losses(gatewayIds: readonly string[], { fromMs, toMs }: Stretch): Promise<Map<string, GatewayLosses>> {
    const concerned = sql<boolean>`gateway_id in ${givenTexts(this.database.dialect, gatewayIds)} and lane = 'telemetry' and (
      (from_ms < ${toMs} and coalesce(to_ms, from_ms) >= ${fromMs}) or (from_ms is null and at_ms >= ${fromMs}))`
    const { rows: sums } = await sql<SumRow>`
      select gateway_id, reason, case when from_ms is null then 0 else 1 end as timed,
        cast(sum(record_count) as bigint) as records, cast(count(*) as integer) as gaps
      from gateway_gaps where ${concerned} group by 1, 2, 3 order by 1, 2, 3`.execute(this.database.kysely)
    const losses = new Map<string, GatewayLosses>(
      gatewayIds.map((id) => [id, { lost: [], lostAtUnknownTime: [], gaps: [] }]),
    )
    for (const { gateway_id, reason, timed, records, gaps } of sums) {
      const of = losses.get(gateway_id)
      const list = timed === 1 ? of?.lost : of?.lostAtUnknownTime
      list?.push({ reason, records, gaps })
    }
    if (sums.length > 0) await this.addGaps(losses, concerned)
    return losses
  }

  /** By id, some at a time; everything else has a turn in between. */
  private async *deviceIds(subject: Subject): AsyncGenerator<readonly number[], void, void> {
    if ('deviceId' in subject) return yield [subject.deviceId]
    const limit = DEVICES_PER_STATEMENT[this.database.dialect]
    let ids: number[] = []
    do {
      const rows = await this.database.kysely
        .selectFrom('devices')
        .select('id')
        .where('site_id', '=', subject.siteId)
        .where('id', '>', ids.at(-1) ?? 0)
        .orderBy('id')
        .limit(limit)
        .execute()
      ids = rows.map(({ id }) => id)
      if (ids.length > 0) yield ids
      await nextTurn()
    } while (ids.length === limit)
  }

  private async addGaps(losses: ReadonlyMap<string, GatewayLosses>, concerned: RawBuilder<boolean>): Promise<void> {
    const { rows } = await sql<GapRow>`
      select gateway_id, record_count, reason, at_ms, from_ms, to_ms from (
        select gateway_gaps.*,
          row_number() over (partition by gateway_id order by at_ms desc, first_sequence desc) as place
        from gateway_gaps where ${concerned}
      ) as placed
      where place <= ${GAPS_SHOWN_MAX} order by gateway_id, place`.execute(this.database.kysely)
    for (const row of rows) {
      losses.get(row.gateway_id)?.gaps.push({
        recordCount: row.record_count,
        reason: row.reason,
        givenUpAtMs: row.at_ms,
        fromMs: row.from_ms,
        toMs: row.to_ms,
      })
    }
  }
}

interface SumRow {
  readonly gateway_id: string
  readonly reason: string
  readonly timed: number
  readonly records: number
  readonly gaps: number
}

interface GapRow {
  readonly gateway_id: string
  readonly record_count: number
  readonly reason: string
  readonly at_ms: number
  readonly from_ms: number | null
  readonly to_ms: number | null
}

function among(dialect: Dialect, column: string, ids: readonly number[]): RawBuilder<boolean> {
  // PostgreSQL knows how many an array has, and reads each device by its key.
  if (dialect === 'postgres') return sql<boolean>`${sql.ref(column)} = any(${ids}::int[])`
  return sql<boolean>`${sql.ref(column)} in (select value from json_each(${JSON.stringify(ids)}))`
}
