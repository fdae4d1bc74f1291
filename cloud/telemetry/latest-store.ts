/** The table of latest values. */

import type { Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import {
  type DeviceFields,
  decodeFields,
  encodeFields,
  type FieldDrops,
  type FieldValue,
  mergeFields,
} from './latest-fields.ts'
import { insertRows, type LatestRow, replaceRows, selectRows } from './latest-rows.ts'

/** Rows of one statement, about 250 KB of parameters. */
const ROWS_PER_STATEMENT = 1_000
/** Devices given back for one site. */
const SITE_DEVICES_MAX = 10_000

/** The latest values of one device. */
export interface DeviceLatest {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  /** Latest event time of any value, Unix milliseconds. */
  readonly eventAtMs: number
  /** When the gateway received that reading, Unix milliseconds. */
  readonly receivedAtMs: number
  /** By field name; `atMs` is the event time of this value, Unix milliseconds. */
  readonly values: Readonly<Record<string, FieldValue>>
}

export class LatestStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async latest(deviceId: number): Promise<DeviceLatest | null> {
    const query = this.database.kysely.selectFrom('latest_values').selectAll().where('device_id', '=', deviceId)
    const row = await query.executeTakeFirst()
    return row === undefined ? null : toLatest(row)
  }

  async latestOfSite(siteId: number): Promise<DeviceLatest[]> {
    const rows = await this.database.kysely
      .selectFrom('latest_values')
      .selectAll()
      .where('site_id', '=', siteId)
      .orderBy('device_id')
      .limit(SITE_DEVICES_MAX)
      .execute()
    return rows.map(toLatest)
  }

  /**
   * Merges what arrived into what is stored, inside the caller's transaction; the rows written are counted. May run
   * again with the same. @param heard when each device was last heard of, Unix milliseconds; one that has sent no reading
   * yet has no row to note it in.
   */
  async merge(
    devices: ReadonlyMap<number, DeviceFields>,
    heard: ReadonlyMap<number, number>,
    transaction: Transaction<Database>,
    drops: FieldDrops,
  ): Promise<number> {
    // One order for all cores: two that wait for each other's rows would wait for ever.
    const ordered = [...new Set([...devices.keys(), ...heard.keys()])].sort((a, b) => a - b)
    const { dialect } = this.database
    let written = 0
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      let remaining: readonly number[] = ordered.slice(start, start + ROWS_PER_STATEMENT)
      while (remaining.length > 0) {
        const stored = await this.lockStored(remaining, transaction)
        const changed: LatestRow[] = []
        const fresh: LatestRow[] = []
        for (const deviceId of remaining) {
          const known = stored.get(deviceId)
          const device = devices.get(deviceId)
          const heardAtMs = heard.get(deviceId) ?? null
          if (known === undefined && device !== undefined) fresh.push(toRow(device, heardAtMs))
          if (known === undefined) continue
          const isNews = device !== undefined && mergeFields(known.fields, device, drops)
          const isHeard = heardAtMs !== null && (known.heardAtMs === null || known.heardAtMs < heardAtMs)
          if (isNews || isHeard) changed.push(toRow(known.fields, isHeard ? heardAtMs : known.heardAtMs))
        }
        if (changed.length > 0) await replaceRows(dialect, changed).execute(transaction)
        const inserted = fresh.length === 0 ? new Set<number>() : await this.insert(fresh, transaction)
        written += changed.length + inserted.size
        // Another core inserted the rest between our two statements; now they are there to be merged into.
        remaining = fresh.map((row) => row.device_id).filter((deviceId) => !inserted.has(deviceId))
      }
    }
    return written
  }

  private async lockStored(deviceIds: readonly number[], transaction: Transaction<Database>) {
    const { rows } = await selectRows(this.database.dialect, deviceIds).execute(transaction)
    return new Map(rows.map((row) => [row.device_id, { fields: fromRow(row), heardAtMs: row.heard_at_ms }]))
  }

  /** The ids of those that were not there. */
  private async insert(devices: readonly LatestRow[], transaction: Transaction<Database>): Promise<Set<number>> {
    const { rows } = await insertRows(this.database.dialect, devices).execute(transaction)
    return new Set(rows.map((row) => row.device_id))
  }
}

function toRow(device: DeviceFields, heardAtMs: number | null): LatestRow {
  return {
    device_id: device.deviceId,
    site_id: device.siteId,
    serial_number: device.serialNumber,
    telemetry: encodeFields(device.fields),
    event_at_ms: device.eventAtMs,
    received_at_ms: device.receivedAtMs,
    heard_at_ms: heardAtMs,
  }
}

function fromRow(row: LatestRow): DeviceFields {
  return {
    deviceId: row.device_id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    fields: decodeFields(row.telemetry),
    eventAtMs: row.event_at_ms,
    receivedAtMs: row.received_at_ms,
  }
}

function toLatest(row: LatestRow): DeviceLatest {
  const { fields, ...device } = fromRow(row)
  return { ...device, values: Object.fromEntries(fields) }
}
