/** The statuses of devices in the database. */

import { type Kysely, sql } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { storableReason } from '../database/stored-text.ts'
import { type DeviceStatus, latestChanges, type StatusChange, type StatusTies } from './device.ts'

/** Rows of one statement; both databases take many more parameters. */
const ROWS_PER_STATEMENT = 500

/** A status as the database has it. */
export interface StoredStatus {
  readonly status: DeviceStatus | null
  readonly statusAtMs: number | null
  /** When the device last said it again without a change, our clock. */
  readonly repeatedAtMs: number | null
}

export class DeviceStatusStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock

  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock }) {
    this.database = options.database
    this.clock = options.clock
  }

  /** The statuses of those of the devices that there are. */
  async find(deviceIds: readonly number[]): Promise<Map<number, StoredStatus>> {
    const found = new Map<number, StoredStatus>()
    for (let start = 0; start < deviceIds.length; start += ROWS_PER_STATEMENT) {
      const rows = await this.database.kysely
        .selectFrom('devices')
        .select(['id', 'status', 'status_at_ms', 'status_repeated_at_ms'])
        .where('id', 'in', deviceIds.slice(start, start + ROWS_PER_STATEMENT))
        .execute()
      for (const row of rows) {
        const status = row.status as DeviceStatus | null
        found.set(row.id, { status, statusAtMs: row.status_at_ms, repeatedAtMs: row.status_repeated_at_ms })
      }
    }
    return found
  }

  /** Notes that these devices said their status again. */
  async noteRepeated(deviceIds: readonly number[], kysely: Kysely<Database>): Promise<void> {
    const ordered = [...new Set(deviceIds)].sort((a, b) => a - b)
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      await kysely
        .updateTable('devices')
        .set({ status_repeated_at_ms: Math.round(this.clock.wallMs()) })
        .where('id', 'in', ordered.slice(start, start + ROWS_PER_STATEMENT))
        .execute()
    }
  }

  /**
   * One statement for many; a change older than the one stored is ignored. A device whose status it is that is written is
   * not taken for silent any more.
   */
  async write(changes: readonly StatusChange[], ties: StatusTies, kysely: Kysely<Database>): Promise<void> {
    const replaceTies = sql.raw(ties === 'replace' ? '1 = 1' : '1 = 0')
    const latest = latestChanges(changes)
    for (let start = 0; start < latest.length; start += ROWS_PER_STATEMENT) {
      const rows = latest.slice(start, start + ROWS_PER_STATEMENT).map(
        ({ deviceId, status, atMs, reason }) => sql`(
          cast(${deviceId} as integer), cast(${status} as text), cast(${atMs} as bigint), cast(${storableReason(reason)} as text))`,
      )
      // Both databases name the columns of a VALUES list column1, column2, …
      await sql`
        update devices set
          status = change.column2, status_at_ms = change.column3, status_reason = change.column4,
          silent_since_ms = null,
          updated_at_ms = ${this.clock.wallMs()}
        from (values ${sql.join(rows)}) as change
        where devices.id = change.column1
          and (devices.status_at_ms is null or devices.status_at_ms < change.column3
            or (devices.status_at_ms = change.column3 and devices.status is distinct from change.column2
              and ${replaceTies}))`.execute(kysely)
    }
  }
}
