/**
 * Reads the tables of readings and roll-ups, a page at a time and outside any transaction: who reads much shares the one
 * connection of SQLite with everybody else.
 */

import { type RawBuilder, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { siteCondition } from '../registry/site-condition.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import type { Resolution } from './rollup.ts'
import type { Stretch } from './series-plan.ts'

/** Rows of one statement: about 5 ms. */
export const PAGE_ROWS = 2_000

export interface ReadingRow {
  readonly device_id: number
  readonly at_ms: number
  readonly seq: number
  /** JSON object. */
  readonly fields: string
}

export interface RollupRow {
  readonly device_id: number
  readonly bucket_ms: number
  readonly records: number
  /** See rollup.ts. */
  readonly fields: string
}

/** What roll-ups tell of the readings in a stretch; they count whole buckets. */
export interface Density {
  readonly readings: number
  /** Begins of the first and the last bucket with readings; null when there are none. */
  readonly firstMs: number | null
  readonly lastMs: number | null
}

export interface QueriedDevice {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly gatewayId: string | null
}

export class SeriesStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Those that are registered, by id. @param sites of no others. */
  async devices(ids: readonly number[], sites: SiteScope): Promise<QueriedDevice[]> {
    const within = siteCondition(this.database.dialect, 'site_id', sites)
    const { rows } = await sql<DeviceRow>`
      select id, site_id, serial_number, gateway_id from devices
      where ${this.among('id', ids)} ${within === null ? sql`` : sql`and ${within}`} order by id`.execute(
      this.database.kysely,
    )
    return rows.map(toDevice)
  }

  /** Of a site, by id, those after `afterId`. */
  async devicesOfSite(siteId: number, afterId: number, limit: number): Promise<QueriedDevice[]> {
    const rows = await this.database.kysely
      .selectFrom('devices')
      .select(['id', 'site_id', 'serial_number', 'gateway_id'])
      .where('site_id', '=', siteId)
      .where('id', '>', afterId)
      .orderBy('id')
      .limit(limit)
      .execute()
    return rows.map(toDevice)
  }

  async density(resolution: Resolution, deviceIds: readonly number[], stretch: Stretch): Promise<Density> {
    const { rows } = await sql<{ readings: number | null; first_ms: number | null; last_ms: number | null }>`
      select cast(sum(records) as bigint) as readings, min(bucket_ms) as first_ms, max(bucket_ms) as last_ms
      from ${sql.table(resolution.table)}
      where ${this.among('device_id', deviceIds)}
        and bucket_ms > ${stretch.fromMs - resolution.ms} and bucket_ms < ${stretch.toMs}`.execute(this.database.kysely)
    const [row] = rows
    return { readings: row?.readings ?? 0, firstMs: row?.first_ms ?? null, lastMs: row?.last_ms ?? null }
  }

  /** By time, those after `after`. */
  async readings(
    deviceIds: readonly number[],
    { fromMs, toMs }: Stretch,
    after: ReadingRow | null,
    limit = PAGE_ROWS,
  ): Promise<ReadingRow[]> {
    // The bound on the time alone is what PostgreSQL leaves out partitions by.
    const following =
      after === null
        ? sql``
        : sql`and (at_ms, seq, device_id) > (cast(${after.at_ms} as bigint), cast(${after.seq} as bigint), cast(${after.device_id} as integer))`
    const { rows } = await sql<ReadingRow>`
      select device_id, at_ms, seq, fields from readings
      where ${this.among('device_id', deviceIds)} and at_ms >= ${after?.at_ms ?? fromMs} and at_ms < ${toMs} ${following}
      order by at_ms, seq, device_id
      limit ${limit}`.execute(this.database.kysely)
    return rows
  }

  /** Buckets that begin in the stretch, by time, those after `after`. */
  async rollups(
    { table }: Resolution,
    deviceIds: readonly number[],
    { fromMs, toMs }: Stretch,
    after: RollupRow | null,
    limit = PAGE_ROWS,
  ): Promise<RollupRow[]> {
    const following =
      after === null
        ? sql``
        : sql`and (bucket_ms, device_id) > (cast(${after.bucket_ms} as bigint), cast(${after.device_id} as integer))`
    const { rows } = await sql<RollupRow>`
      select device_id, bucket_ms, records, fields from ${sql.table(table)}
      where ${this.among('device_id', deviceIds)}
        and bucket_ms >= ${after?.bucket_ms ?? fromMs} and bucket_ms < ${toMs} ${following}
      order by bucket_ms, device_id
      limit ${limit}`.execute(this.database.kysely)
    return rows
  }

  /** One parameter, however many ids: the statement stays the same and is prepared once. */
  private among(column: string, ids: readonly number[]): RawBuilder<boolean> {
    // Of one device the rows lie in the order asked for, so that a page is read without sorting what follows it.
    if (ids.length === 1) return sql<boolean>`${sql.ref(column)} = ${ids[0]}`
    return this.database.dialect === 'postgres'
      ? sql<boolean>`${sql.ref(column)} = any(cast(${ids} as integer[]))`
      : sql<boolean>`${sql.ref(column)} in (select value from json_each(${JSON.stringify(ids)}))`
  }
}

interface DeviceRow {
  readonly id: number
  readonly site_id: number
  readonly serial_number: string
  readonly gateway_id: string | null
}

function toDevice(row: DeviceRow): QueriedDevice {
  return { deviceId: row.id, siteId: row.site_id, serialNumber: row.serial_number, gatewayId: row.gateway_id }
}
