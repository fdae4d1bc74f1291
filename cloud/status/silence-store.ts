/**
 * Silent devices in the database. A transaction that writes both locks the rows of devices whose status changes before those
 * of latest_values, each ascending by device.
 */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { DeviceKey, DeviceStatus } from '../registry/device.ts'
import { intervalOf, lastHeardMs, RESTORED_REASON, type SilenceSettings, silenceReason } from './silence.ts'

export interface SilenceQuestion {
  readonly settings: SilenceSettings
  /** When it is asked about; nothing said before may be still to be heard. */
  readonly nowMs: number
  /** Since when a core has listened without a break. */
  readonly listeningSinceMs: number
  /** Gateways that were heard of since then count as connected. */
  readonly gatewaysHeardSinceMs: number
}

/** A device that seems silent. */
export interface SilentDevice {
  readonly id: number
  readonly lastHeardMs: number
  readonly heardAtMs: number | null
  readonly statusAtMs: number | null
  readonly repeatedAtMs: number | null
  readonly intervalMs: number
}

/** A change that was made. */
export interface MadeChange extends DeviceKey {
  readonly deviceId: number
  readonly previous: DeviceStatus
  readonly status: DeviceStatus
  readonly atMs: number
  readonly reason: string
}

interface ChangedRow {
  readonly id: number
  readonly site_id: number
  readonly serial_number: string
  readonly status_at_ms: number
  readonly status_reason: string
}

/** Silent devices read at once to be compared with what was heard; if there are more, those heard are looked up. */
const SILENT_READ_MAX = 1_000
/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500

export class SilenceStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** The last id of the next `count` devices after `afterId`; null when there are no more. */
  async stepEnd(afterId: number, count: number): Promise<number | null> {
    const { rows } = await sql<{ last: number | null }>`
      select max(id) as last from (select id from devices where id > ${afterId} order by id limit ${count}) as step
      `.execute(this.database.kysely)
    return rows[0]?.last ?? null
  }

  /** Devices with an id after `afterId` up to `throughId` that are silent; see silence.ts. */
  async silent(question: SilenceQuestion, afterId: number, throughId: number): Promise<SilentDevice[]> {
    const { settings, nowMs, listeningSinceMs, gatewaysHeardSinceMs } = question
    const interval = intervalSql(settings)
    // What the gateway holds began then, our clock.
    const held = sql`(gateways.backlog_oldest_ms - coalesce(gateways.clock_offset_ms, 0))`
    const { rows } = await sql<{
      id: number
      device_type: string
      silent_after_ms: number | null
      heard_at_ms: number | null
      status_at_ms: number | null
      status_repeated_at_ms: number | null
    }>`
      select devices.id, devices.device_type, devices.silent_after_ms, devices.status_at_ms,
        devices.status_repeated_at_ms, latest_values.heard_at_ms
      from devices
        join gateways on gateways.id = devices.gateway_id
        left join latest_values on latest_values.device_id = devices.id
      where devices.id > ${afterId} and devices.id <= ${throughId}
        and devices.status = 'ONLINE'
        and gateways.connected = 1 and gateways.last_seen_at_ms >= ${gatewaysHeardSinceMs}
        and ${interval} > 0
        and ${listeningSinceMs} <= ${nowMs} - ${interval}
        and coalesce(devices.status_at_ms, 0) <= ${nowMs} - ${interval}
        and coalesce(devices.status_repeated_at_ms, 0) <= ${nowMs} - ${interval}
        and coalesce(gateways.connected_at_ms, 0) <= ${nowMs} - ${interval}
        and coalesce(latest_values.heard_at_ms, 0) <= ${nowMs} - ${interval}
        and (gateways.backlog_oldest_ms is null or (
          ${held} >= ${nowMs} - ${interval}
          and ${listeningSinceMs} <= ${held} - ${interval}
          and coalesce(devices.status_at_ms, 0) <= ${held} - ${interval}
          and coalesce(devices.status_repeated_at_ms, 0) <= ${held} - ${interval}
          and coalesce(gateways.connected_at_ms, 0) <= ${held} - ${interval}
          and coalesce(latest_values.heard_at_ms, 0) <= ${held} - ${interval}))
      order by devices.id`.execute(this.database.kysely)
    return rows.map((row) => {
      const heard = {
        heardAtMs: row.heard_at_ms,
        statusAtMs: row.status_at_ms,
        repeatedAtMs: row.status_repeated_at_ms,
      }
      const intervalMs = intervalOf({ silentAfterMs: row.silent_after_ms, deviceType: row.device_type }, settings)
      return { id: row.id, intervalMs, lastHeardMs: lastHeardMs(heard), ...heard }
    })
  }

  /**
   * Makes those OFFLINE that are still as they were found; the others were heard of since, or belong to another core.
   * @param devices ascending by id, 500 at most.
   */
  async claim(
    devices: readonly SilentDevice[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<MadeChange[]> {
    const { dialect } = this.database
    await this.lock(
      'devices',
      'id',
      devices.map(({ id }) => id),
      transaction,
    )
    const still = await this.stillUnheard(devices, transaction)
    if (still.length === 0) return []
    const rows = still.map(({ id, statusAtMs, repeatedAtMs, lastHeardMs: lastMs, intervalMs }) => ({
      id,
      known_at_ms: statusAtMs,
      repeated_at_ms: repeatedAtMs,
      // The order of events is that of their times, also where a device's clock is ahead.
      at_ms: Math.max(nowMs, (statusAtMs ?? 0) + 1),
      since_ms: lastMs,
      reason: silenceReason(nowMs - lastMs, intervalMs),
    }))
    const columns = {
      id: 'integer',
      known_at_ms: 'bigint',
      repeated_at_ms: 'bigint',
      at_ms: 'bigint',
      since_ms: 'bigint',
      reason: 'text',
    } as const
    const changed = await sql<ChangedRow>`
      update devices set
        status = 'OFFLINE', status_at_ms = given.at_ms, status_reason = given.reason, silent_since_ms = given.since_ms,
        updated_at_ms = ${nowMs}
      from ${givenRows(dialect, columns, rows)}
      where devices.id = given.id and devices.status = 'ONLINE'
        and devices.status_at_ms is not distinct from given.known_at_ms
        and devices.status_repeated_at_ms is not distinct from given.repeated_at_ms
      returning devices.id, devices.site_id, devices.serial_number, devices.status_at_ms, devices.status_reason
      `.execute(transaction)
    return made(changed.rows, 'ONLINE', 'OFFLINE')
  }

  /** Makes silent devices ONLINE that were heard of after they fell silent. */
  async restore(heardAtMs: ReadonlyMap<number, number>, nowMs: number, transaction: Transaction<Database>) {
    if (heardAtMs.size === 0) return []
    const { dialect } = this.database
    const silent = await transaction
      .selectFrom('devices')
      .select('id')
      .where('silent_since_ms', 'is not', null)
      .orderBy('id')
      .limit(SILENT_READ_MAX + 1)
      .execute()
    const few = silent.length <= SILENT_READ_MAX
    const candidates = few ? silent.map(({ id }) => id).filter((id) => heardAtMs.has(id)) : [...heardAtMs.keys()]
    const ids = candidates.sort((a, b) => a - b)
    const changes: MadeChange[] = []
    for (let start = 0; start < ids.length; start += ROWS_PER_STATEMENT) {
      const group = ids.slice(start, start + ROWS_PER_STATEMENT)
      await this.lock('devices', 'id', group, transaction, sql`silent_since_ms is not null`)
      const rows = group.map((id) => ({ id, heard_at_ms: heardAtMs.get(id) as number }))
      const later = sql`case when given.heard_at_ms > devices.status_at_ms
        then given.heard_at_ms else devices.status_at_ms + 1 end`
      const changed = await sql<ChangedRow>`
        update devices set
          status = 'ONLINE', status_at_ms = ${later}, status_reason = ${RESTORED_REASON}, silent_since_ms = null,
          updated_at_ms = ${nowMs}
        from ${givenRows(dialect, { id: 'integer', heard_at_ms: 'bigint' }, rows)}
        where devices.id = given.id and devices.status = 'OFFLINE' and devices.silent_since_ms < given.heard_at_ms
        returning devices.id, devices.site_id, devices.serial_number, devices.status_at_ms, devices.status_reason
        `.execute(transaction)
      changes.push(...made(changed.rows, 'OFFLINE', 'ONLINE'))
    }
    return changes
  }

  async count(): Promise<number> {
    const row = await this.database.kysely
      .selectFrom('devices')
      .select(sql<number>`count(*)`.as('silent'))
      .where('silent_since_ms', 'is not', null)
      .executeTakeFirstOrThrow()
    return Number(row.silent)
  }

  /**
   * Waits for who is storing that a device was heard of, and holds up who comes next: whoever was first, the other one
   * finds it done.
   */
  private async stillUnheard(
    devices: readonly SilentDevice[],
    transaction: Transaction<Database>,
  ): Promise<SilentDevice[]> {
    const ids = devices.map(({ id }) => id)
    await this.lock('latest_values', 'device_id', ids, transaction)
    const rows = await transaction
      .selectFrom('latest_values')
      .select(['device_id', 'heard_at_ms'])
      .where('device_id', 'in', ids)
      .execute()
    const heard = new Map(rows.map((row) => [row.device_id, row.heard_at_ms]))
    return devices.filter(({ id, heardAtMs }) => (heard.get(id) ?? null) === heardAtMs)
  }

  /** SQLite has one writer at a time anyway. */
  private async lock(
    table: 'devices' | 'latest_values',
    key: 'id' | 'device_id',
    ids: readonly number[],
    transaction: Transaction<Database>,
    condition: RawBuilder<unknown> = sql`true`,
  ): Promise<void> {
    if (this.database.dialect === 'sqlite') return
    const given = givenRows(
      'postgres',
      { id: 'integer' },
      ids.map((id) => ({ id })),
    )
    await sql`
      select 1 from ${sql.table(table)} where ${sql.ref(key)} in (select given.id from ${given}) and ${condition}
      order by ${sql.ref(key)} for update`.execute(transaction)
  }
}

function intervalSql({ silentAfterMs, silentAfterMsByType }: SilenceSettings): RawBuilder<number> {
  const types = Object.entries(silentAfterMsByType)
  const whens = types.map(([type, ms]) => sql`when ${type} then cast(${ms} as bigint)`)
  const common = sql`cast(${silentAfterMs} as bigint)`
  const ofType =
    whens.length === 0 ? common : sql`case devices.device_type ${sql.join(whens, sql` `)} else ${common} end`
  return sql<number>`coalesce(devices.silent_after_ms, ${ofType})`
}

function made(rows: readonly ChangedRow[], previous: DeviceStatus, status: DeviceStatus): MadeChange[] {
  const changes = rows.map((row) => ({
    deviceId: row.id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    previous,
    status,
    atMs: row.status_at_ms,
    reason: row.status_reason,
  }))
  return changes.sort((a, b) => a.deviceId - b.deviceId)
}
