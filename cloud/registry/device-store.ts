/** Devices in the database. */

import type { Selectable } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { DevicesTable } from '../database/schema.ts'
import { type DeviceKey, type DeviceStatus, deviceTypeOf, invalidDeviceType } from './device.ts'
import type { StoredDevice } from './device-cache.ts'
import { AlreadyRegisteredError, type InvalidField, InvalidRegistrationError, NotRegisteredError } from './errors.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from './page.ts'
import { siteCondition } from './site-condition.ts'
import { narrowed, type SiteScope } from './site-scope.ts'
import { invalidName, invalidSerialNumber, invalidSiteId } from './text-fields.ts'

/** Rows of one statement; both databases take many more parameters. */
const ROWS_PER_STATEMENT = 500

export interface Device extends DeviceKey {
  readonly id: number
  readonly deviceType: string
  readonly name: string | null
  /** The gateway that sent for it last. */
  readonly gatewayId: string | null
  readonly status: DeviceStatus | null
  readonly statusAtMs: number | null
  readonly statusReason: string | null
  /** How long nothing may be heard of it before it counts as OFFLINE, milliseconds; null for the default, 0 for ever. */
  readonly silentAfterMs: number | null
  /** While it is OFFLINE because nothing was heard of it: when it was last heard. */
  readonly silentSinceMs: number | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface DeviceFilter {
  readonly siteId?: number | undefined
  readonly gatewayId?: string | undefined
  readonly deviceType?: string | undefined
  readonly status?: DeviceStatus | undefined
  readonly serialNumber?: string | undefined
  /** Of no other sites. */
  readonly sites?: SiteScope
}

/** What may be given of a device besides its identity; null takes a value away. */
export interface DeviceSettings {
  readonly deviceType?: string | undefined
  readonly name?: string | null | undefined
  readonly silentAfterMs?: number | null | undefined
}

/** 30 days. */
const SILENT_AFTER_MS_MAX = 2_592_000_000

export class DeviceStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock
  private readonly deviceTypePrefixes: Readonly<Record<string, string>>
  private readonly onUpdated: (deviceId: number) => void

  constructor(options: {
    readonly database: DatabaseHandle
    readonly clock: Clock
    readonly deviceTypePrefixes: Readonly<Record<string, string>>
    readonly onUpdated: (deviceId: number) => void
  }) {
    this.database = options.database
    this.clock = options.clock
    this.deviceTypePrefixes = options.deviceTypePrefixes
    this.onUpdated = options.onUpdated
  }

  async list(request: PageRequest & DeviceFilter = {}): Promise<Page<Device>> {
    const { limit, after } = readPageRequest<number>(request, 'number')
    const { siteId, gatewayId, deviceType, status, serialNumber, sites = 'all' } = request
    const within = siteCondition(this.database.dialect, 'site_id', narrowed(sites, siteId))
    let query = this.database.kysely
      .selectFrom('devices')
      .selectAll()
      .orderBy('id')
      .limit(limit + 1)
    if (after !== null) query = query.where('id', '>', after)
    if (within !== null) query = query.where(within)
    if (gatewayId !== undefined) query = query.where('gateway_id', '=', gatewayId)
    if (deviceType !== undefined) query = query.where('device_type', '=', deviceType)
    if (status !== undefined) query = query.where('status', '=', status)
    if (serialNumber !== undefined) query = query.where('serial_number', '=', serialNumber)
    return toPage(await query.execute(), limit, (row) => row.id, toDevice)
  }

  async get(id: number): Promise<Device | null> {
    const row = await this.database.kysely.selectFrom('devices').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toDevice(row)
  }

  /**
   * Registers a device before its first record. Without a type it gets that of its serial number's prefix.
   * @throws InvalidRegistrationError, NotRegisteredError for the site, AlreadyRegisteredError
   */
  async create(device: DeviceKey & DeviceSettings): Promise<Device> {
    const { siteId, serialNumber, name = null, silentAfterMs = null } = device
    const deviceType = device.deviceType ?? deviceTypeOf(serialNumber, this.deviceTypePrefixes)
    const invalid = [
      ...invalidSiteId(siteId),
      ...invalidSerialNumber(serialNumber),
      ...invalidDeviceType(deviceType),
      ...(name === null ? [] : invalidName(name)),
      ...invalidSilentAfter(silentAfterMs),
    ]
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const site = this.database.kysely.selectFrom('sites').select('id').where('id', '=', siteId)
    if ((await site.executeTakeFirst()) === undefined) throw new NotRegisteredError('site', `site ${siteId}`)
    try {
      const row = await this.database.kysely
        .insertInto('devices')
        .values({ ...this.newRow(device, null), device_type: deviceType, name, silent_after_ms: silentAfterMs })
        .returningAll()
        .executeTakeFirstOrThrow()
      return toDevice(row)
    } catch (error) {
      if (isDuplicate(error))
        throw new AlreadyRegisteredError('device', `device ${serialNumber} of site ${siteId}`, error)
      throw error
    }
  }

  /** @throws InvalidRegistrationError, NotRegisteredError */
  async update(id: number, changes: DeviceSettings): Promise<Device> {
    const { deviceType, name, silentAfterMs } = changes
    const invalid = [
      ...(deviceType === undefined ? [] : invalidDeviceType(deviceType)),
      ...(name === undefined || name === null ? [] : invalidName(name)),
      ...invalidSilentAfter(silentAfterMs),
    ]
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const row = await this.database.kysely
      .updateTable('devices')
      .set({
        ...(deviceType === undefined ? {} : { device_type: deviceType }),
        ...(name === undefined ? {} : { name }),
        ...(silentAfterMs === undefined ? {} : { silent_after_ms: silentAfterMs }),
        updated_at_ms: this.clock.wallMs(),
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirst()
    if (row === undefined) throw new NotRegisteredError('device', `device ${id}`)
    this.onUpdated(id)
    return toDevice(row)
  }

  /** Those of `keys` that are registered, in no particular order. */
  async find(keys: readonly DeviceKey[]): Promise<StoredDevice[]> {
    const serialsOfSite = Map.groupBy(keys, (key) => key.siteId)
    const found: StoredDevice[] = []
    for (const [siteId, group] of serialsOfSite) {
      for (let start = 0; start < group.length; start += ROWS_PER_STATEMENT) {
        const serials = group.slice(start, start + ROWS_PER_STATEMENT).map((key) => key.serialNumber)
        const rows = await this.database.kysely
          .selectFrom('devices')
          .select(['id', 'site_id', 'serial_number', 'device_type', 'gateway_id', 'status', 'status_at_ms'])
          .where('site_id', '=', siteId)
          .where('serial_number', 'in', serials)
          .execute()
        for (const row of rows) found.push(toStored(row))
      }
    }
    return found
  }

  /** Adds devices and their sites; those that another core added meanwhile stay as they are. */
  async register(gatewayId: string, keys: readonly DeviceKey[]): Promise<void> {
    const nowMs = this.clock.wallMs()
    // One order for all cores: two that wait for each other's rows would wait for ever.
    const ordered = [...keys].sort((a, b) => a.siteId - b.siteId || (a.serialNumber < b.serialNumber ? -1 : 1))
    const siteIds = [...new Set(ordered.map((key) => key.siteId))]
    await this.database.transaction(async (transaction) => {
      await transaction
        .insertInto('sites')
        .values(siteIds.map((id) => ({ id, name: `Site ${id}`, created_at_ms: nowMs, updated_at_ms: nowMs })))
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
        const rows = ordered.slice(start, start + ROWS_PER_STATEMENT).map((key) => this.newRow(key, gatewayId))
        await transaction
          .insertInto('devices')
          .values(rows)
          .onConflict((conflict) => conflict.doNothing())
          .execute()
      }
    })
  }

  /** Notes that these devices are now behind this gateway. */
  async moveTo(gatewayId: string, deviceIds: readonly number[]): Promise<void> {
    const ordered = [...deviceIds].sort((a, b) => a - b)
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      await this.database.kysely
        .updateTable('devices')
        .set({ gateway_id: gatewayId, updated_at_ms: this.clock.wallMs() })
        .where('id', 'in', ordered.slice(start, start + ROWS_PER_STATEMENT))
        .execute()
    }
  }

  private newRow({ siteId, serialNumber }: DeviceKey, gatewayId: string | null) {
    const nowMs = this.clock.wallMs()
    return {
      site_id: siteId,
      serial_number: serialNumber,
      device_type: deviceTypeOf(serialNumber, this.deviceTypePrefixes),
      gateway_id: gatewayId,
      created_at_ms: nowMs,
      updated_at_ms: nowMs,
    }
  }
}

function toDevice(row: Selectable<DevicesTable>): Device {
  return {
    id: row.id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    deviceType: row.device_type,
    name: row.name,
    gatewayId: row.gateway_id,
    status: row.status as DeviceStatus | null,
    statusAtMs: row.status_at_ms,
    statusReason: row.status_reason,
    silentAfterMs: row.silent_after_ms,
    silentSinceMs: row.silent_since_ms,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
  }
}

function invalidSilentAfter(ms: number | null | undefined): InvalidField[] {
  if (ms === null || ms === undefined) return []
  if (Number.isInteger(ms) && ms >= 0 && ms <= SILENT_AFTER_MS_MAX) return []
  const remedy = `0 for never, or up to ${SILENT_AFTER_MS_MAX / 1000}, or null for the default`
  return [{ field: 'silentAfterSeconds', value: ms / 1000, remedy }]
}

type StoredRow = Pick<
  Selectable<DevicesTable>,
  'id' | 'site_id' | 'serial_number' | 'device_type' | 'gateway_id' | 'status' | 'status_at_ms'
>

function toStored(row: StoredRow): StoredDevice {
  return {
    deviceId: row.id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    deviceType: row.device_type,
    gatewayId: row.gateway_id,
    status: row.status as DeviceStatus | null,
    statusAtMs: row.status_at_ms,
  }
}
