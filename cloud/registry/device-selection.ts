/** Finds many devices at once, for who commands them: by serial number, or all of a site or a type. */

import type { DatabaseHandle } from '../database/database.ts'
import type { DeviceKey } from './device.ts'
import { siteCondition } from './site-condition.ts'
import { narrowed, type SiteScope } from './site-scope.ts'

/** Serial numbers of one statement; both databases take many more parameters. */
const SERIALS_PER_STATEMENT = 500

export interface SelectedDevice extends DeviceKey {
  readonly deviceId: number
}

/** All that are given must match; at least one is. */
export interface DeviceCriteria {
  readonly siteId?: number | undefined
  readonly deviceType?: string | undefined
}

export class DeviceSelection {
  private readonly database: DatabaseHandle

  constructor(options: { readonly database: DatabaseHandle }) {
    this.database = options.database
  }

  /**
   * The registered devices with these serial numbers, in no particular order; without `siteId` those of every site, so that
   * one serial number may give several.
   * @param sites of no others.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  async bySerialNumbers(
    serialNumbers: readonly string[],
    siteId?: number,
    sites: SiteScope = 'all',
  ): Promise<SelectedDevice[]> {
    const within = siteCondition(this.database.dialect, 'site_id', narrowed(sites, siteId))
    const wanted = [...new Set(serialNumbers)]
    const found: SelectedDevice[] = []
    for (let start = 0; start < wanted.length; start += SERIALS_PER_STATEMENT) {
      let query = this.database.kysely
        .selectFrom('devices')
        .select(['id', 'site_id', 'serial_number'])
        .where('serial_number', 'in', wanted.slice(start, start + SERIALS_PER_STATEMENT))
      if (within !== null) query = query.where(within)
      for (const row of await query.execute()) found.push(toSelected(row))
    }
    return found
  }

  /**
   * The devices that match, ascending by id, at most `limit` of them: one more than allowed tells that there are too many.
   * @param sites of no others.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  async matching(
    { siteId, deviceType }: DeviceCriteria,
    limit: number,
    sites: SiteScope = 'all',
  ): Promise<SelectedDevice[]> {
    const within = siteCondition(this.database.dialect, 'site_id', narrowed(sites, siteId))
    let query = this.database.kysely
      .selectFrom('devices')
      .select(['id', 'site_id', 'serial_number'])
      .orderBy('id')
      .limit(limit)
    if (within !== null) query = query.where(within)
    if (deviceType !== undefined) query = query.where('device_type', '=', deviceType)
    return (await query.execute()).map(toSelected)
  }
}

function toSelected(row: { id: number; site_id: number; serial_number: string }): SelectedDevice {
  return { deviceId: row.id, siteId: row.site_id, serialNumber: row.serial_number }
}
