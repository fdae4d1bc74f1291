/** Gateways: who they are, whether they are connected, what they still hold, what they gave up. */

import { type Kysely, type Selectable, sql } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Lane } from '../../shared/lanes.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { Database, GatewayGapsTable, GatewaysTable } from '../database/schema.ts'
import { AlreadyRegisteredError, InvalidRegistrationError, NotRegisteredError } from './errors.ts'
import { hasDeviceAt, isSeenFrom } from './gateway-sight.ts'
import { GatewaySites } from './gateway-sites.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from './page.ts'
import { narrowed, type SiteScope } from './site-scope.ts'
import { invalidGatewayId, invalidName } from './text-fields.ts'

/** Rows of one statement; both databases take many more parameters. */
const ROWS_PER_STATEMENT = 500
/** Gaps given back by one call. */
const GAPS_MAX = 1_000

export interface GatewayBacklog {
  readonly records: number
  readonly bytes: number
  /** Wall clock of the oldest record, Unix milliseconds; null when there is none. */
  readonly oldestMs: number | null
}

export interface Gateway {
  readonly id: string
  readonly name: string | null
  /** False too when a gateway that was connected has not been heard of for a while. */
  readonly connected: boolean
  readonly softwareVersion: string | null
  readonly bootId: string | null
  readonly epoch: string | null
  readonly connectedAtMs: number | null
  readonly lastSeenAtMs: number | null
  readonly backlog: GatewayBacklog | null
  /** The gateway's wall clock less ours at its last Hello. */
  readonly clockOffsetMs: number | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface GatewayFilter {
  readonly connected?: boolean | undefined
  /** Gateways with a device at this site. */
  readonly siteId?: number | undefined
  /** Gateways that may be seen from these, see gateway-sight.ts. */
  readonly sites?: SiteScope
}

export interface GatewayHello {
  readonly gatewayId: string
  /** Names this uplink session; `disconnected` must give the same. */
  readonly sessionId: string
  readonly epoch: string
  readonly bootId: string
  readonly softwareVersion: string
  readonly clockOffsetMs: number
}

/** What was heard of a gateway since the last report was written. */
export interface GatewayReport {
  readonly gatewayId: string
  readonly seenAtMs: number
  readonly backlog: GatewayBacklog | null
}

export interface GatewayGap {
  readonly gatewayId: string
  readonly epoch: string
  readonly lane: Lane
  readonly firstSequence: number
  readonly recordCount: number
  readonly reason: string
  /** When the gateway gave the records up, its clock, Unix milliseconds. */
  readonly atMs: number
  /** The records were received from then, its clock, Unix milliseconds; null when it does not tell. */
  readonly fromMs: number | null
  /** … until then, or before. */
  readonly toMs: number | null
}

export class GatewayStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock
  private readonly silentAfterMs: number

  /** @param silentAfterMs a connected gateway that was not heard of for longer counts as not connected. */
  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock; readonly silentAfterMs: number }) {
    this.database = options.database
    this.clock = options.clock
    this.silentAfterMs = options.silentAfterMs
  }

  async list(request: PageRequest & GatewayFilter = {}): Promise<Page<Gateway>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { connected, siteId, sites = 'all' } = request
    const { dialect } = this.database
    const heardSinceMs = this.clock.wallMs() - this.silentAfterMs
    let query = this.database.kysely
      .selectFrom('gateways')
      .selectAll()
      .orderBy('id')
      .limit(limit + 1)
    if (after !== null) query = query.where('id', '>', after)
    if (connected === true) query = query.where('connected', '=', 1).where('last_seen_at_ms', '>=', heardSinceMs)
    if (connected === false) {
      query = query.where((e) => e.or([e('connected', '=', 0), e('last_seen_at_ms', '<', heardSinceMs)]))
    }
    if (siteId !== undefined) query = query.where(hasDeviceAt(dialect, narrowed(sites, siteId)))
    else if (sites !== 'all') query = query.where(isSeenFrom(dialect, sites))
    return toPage(
      await query.execute(),
      limit,
      (row) => row.id,
      (row) => toGateway(row, heardSinceMs),
    )
  }

  async get(id: string): Promise<Gateway | null> {
    const row = await this.database.kysely.selectFrom('gateways').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toGateway(row, this.clock.wallMs() - this.silentAfterMs)
  }

  /** Where it belongs; null when it is not registered. */
  sitesOf(id: string): Promise<number[] | null> {
    return new GatewaySites({ database: this.database, clock: this.clock }).of(id)
  }

  /** Registers a gateway before it first connects. @throws InvalidRegistrationError, AlreadyRegisteredError */
  async create(gateway: { readonly id: string; readonly name?: string | null | undefined }): Promise<Gateway> {
    const { id, name = null } = gateway
    const invalid = [...invalidGatewayId(id), ...(name === null ? [] : invalidName(name))]
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const nowMs = this.clock.wallMs()
    try {
      const row = await this.database.kysely
        .insertInto('gateways')
        .values({ id, name, connected: 0, created_at_ms: nowMs, updated_at_ms: nowMs })
        .returningAll()
        .executeTakeFirstOrThrow()
      return toGateway(row, nowMs)
    } catch (error) {
      throw isDuplicate(error) ? new AlreadyRegisteredError('gateway', `gateway ${id}`, error) : error
    }
  }

  /** @throws InvalidRegistrationError, NotRegisteredError */
  async update(id: string, changes: { readonly name?: string | null | undefined }): Promise<Gateway> {
    const { name } = changes
    const invalid = name === undefined || name === null ? [] : invalidName(name)
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const nowMs = this.clock.wallMs()
    const row = await this.database.kysely
      .updateTable('gateways')
      .set({ ...(name === undefined ? {} : { name }), updated_at_ms: nowMs })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirst()
    if (row === undefined) throw new NotRegisteredError('gateway', `gateway ${id}`)
    return toGateway(row, nowMs - this.silentAfterMs)
  }

  /** @throws BusbarError GATEWAY_NOT_REGISTERED when the gateway is new and `autoRegister` is off. */
  async connected(hello: GatewayHello, autoRegister: boolean): Promise<void> {
    const nowMs = this.clock.wallMs()
    const state = {
      software_version: hello.softwareVersion,
      boot_id: hello.bootId,
      epoch: hello.epoch,
      connected: 1,
      session_id: hello.sessionId,
      connected_at_ms: nowMs,
      last_seen_at_ms: nowMs,
      clock_offset_ms: hello.clockOffsetMs,
      updated_at_ms: nowMs,
    }
    const { kysely } = this.database
    if (autoRegister) {
      await kysely
        .insertInto('gateways')
        .values({ id: hello.gatewayId, ...state, created_at_ms: nowMs })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(state))
        .execute()
      return
    }
    const updated = await kysely.updateTable('gateways').set(state).where('id', '=', hello.gatewayId).executeTakeFirst()
    if (updated.numUpdatedRows > 0n) return
    throw new BusbarError(`gateway ${hello.gatewayId} is not registered`, {
      code: 'GATEWAY_NOT_REGISTERED',
      hint: 'register the gateway over the API, or set registry.autoRegisterGateways',
    })
  }

  /** Does nothing when the gateway has connected anew since. */
  async disconnected(gatewayId: string, sessionId: string): Promise<void> {
    const nowMs = this.clock.wallMs()
    await this.database.kysely
      .updateTable('gateways')
      .set({ connected: 0, session_id: null, last_seen_at_ms: nowMs, updated_at_ms: nowMs })
      .where('id', '=', gatewayId)
      .where('session_id', '=', sessionId)
      .execute()
  }

  async writeReports(reports: readonly GatewayReport[]): Promise<void> {
    const ordered = [...reports].sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1))
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      const rows = ordered.slice(start, start + ROWS_PER_STATEMENT).map(
        ({ gatewayId, seenAtMs, backlog }) => sql`(
          cast(${gatewayId} as text), cast(${seenAtMs} as bigint), cast(${backlog === null ? 0 : 1} as integer),
          cast(${backlog?.records ?? 0} as bigint), cast(${backlog?.bytes ?? 0} as bigint),
          cast(${backlog?.oldestMs ?? null} as bigint))`,
      )
      // Both databases name the columns of a VALUES list column1, column2, …
      await sql`
        update gateways set
          last_seen_at_ms = heard.column2,
          backlog_records = case heard.column3 when 1 then heard.column4 else gateways.backlog_records end,
          backlog_bytes = case heard.column3 when 1 then heard.column5 else gateways.backlog_bytes end,
          backlog_oldest_ms = case heard.column3 when 1 then heard.column6 else gateways.backlog_oldest_ms end
        from (values ${sql.join(rows)}) as heard
        where gateways.id = heard.column1`.execute(this.database.kysely)
    }
  }

  /** Idempotent by its first sequence. */
  async recordGap(gap: GatewayGap, kysely: Kysely<Database> = this.database.kysely): Promise<void> {
    await kysely
      .insertInto('gateway_gaps')
      .values({
        gateway_id: gap.gatewayId,
        epoch: gap.epoch,
        lane: gap.lane,
        first_sequence: gap.firstSequence,
        record_count: gap.recordCount,
        reason: gap.reason,
        at_ms: gap.atMs,
        recorded_at_ms: this.clock.wallMs(),
        from_ms: gap.fromMs,
        to_ms: gap.toMs,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  /** The latest gaps of a gateway, newest first, at most 1,000. */
  async gaps(gatewayId: string): Promise<GatewayGap[]> {
    const rows = await this.database.kysely
      .selectFrom('gateway_gaps')
      .selectAll()
      .where('gateway_id', '=', gatewayId)
      .orderBy('at_ms', 'desc')
      .orderBy('first_sequence', 'desc')
      .limit(GAPS_MAX)
      .execute()
    return rows.map(toGap)
  }
}

function toGateway(row: Selectable<GatewaysTable>, heardSinceMs: number): Gateway {
  const { backlog_records: records, backlog_bytes: bytes } = row
  return {
    id: row.id,
    name: row.name,
    connected: row.connected === 1 && (row.last_seen_at_ms ?? 0) >= heardSinceMs,
    softwareVersion: row.software_version,
    bootId: row.boot_id,
    epoch: row.epoch,
    connectedAtMs: row.connected_at_ms,
    lastSeenAtMs: row.last_seen_at_ms,
    backlog: records === null || bytes === null ? null : { records, bytes, oldestMs: row.backlog_oldest_ms },
    clockOffsetMs: row.clock_offset_ms,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
  }
}

function toGap(row: Selectable<GatewayGapsTable>): GatewayGap {
  return {
    gatewayId: row.gateway_id,
    epoch: row.epoch,
    lane: row.lane as Lane,
    firstSequence: row.first_sequence,
    recordCount: row.record_count,
    reason: row.reason,
    atMs: row.at_ms,
    fromMs: row.from_ms,
    toMs: row.to_ms,
  }
}
