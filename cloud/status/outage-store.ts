/** Outages of gateways in the database. A gateway has one open outage at most, whichever core finds it. */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'

/** A gateway was offline for longer than it may be without notice. */
export interface GatewayOutage {
  readonly gatewayId: string
  /** When it was last heard of, Unix milliseconds. */
  readonly sinceMs: number
  readonly noticedAtMs: number
  /** Null while it lasts. */
  readonly endedAtMs: number | null
}

/** What is told of a gateway whose outage begins or ends. */
export interface OutageGateway extends GatewayOutage {
  readonly name: string | null
  /** What it holds by its last report; null when it never told. */
  readonly backlog: { readonly records: number; readonly bytes: number } | null
  readonly devices: number
  /** Where its devices are, ascending. */
  readonly siteIds: readonly number[]
}

interface OutageRow {
  readonly gateway_id: string
  readonly since_ms: number
  readonly noticed_at_ms: number
  readonly ended_at_ms: number | null
}

export class OutageStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Begins outages of gateways that are not connected and were last heard of before `unheardSinceMs`, `limit` at most. */
  async begin(
    {
      nowMs,
      unheardSinceMs,
      silentSinceMs,
      limit,
    }: {
      nowMs: number
      unheardSinceMs: number
      /** A connected gateway that was last heard of before then counts as not connected. */
      silentSinceMs: number
      limit: number
    },
    transaction: Transaction<Database>,
  ): Promise<OutageGateway[]> {
    const { rows } = await sql<OutageRow>`
      insert into gateway_outages (gateway_id, since_ms, noticed_at_ms)
      select gateways.id, gateways.last_seen_at_ms, ${nowMs} from gateways
      where gateways.connected_at_ms is not null
        and gateways.last_seen_at_ms < ${unheardSinceMs}
        and (gateways.connected = 0 or gateways.last_seen_at_ms < ${silentSinceMs})
        and not exists (
          select 1 from gateway_outages open where open.gateway_id = gateways.id and open.ended_at_ms is null)
      order by gateways.id limit ${limit}
      on conflict do nothing
      returning gateway_id, since_ms, noticed_at_ms, ended_at_ms`.execute(transaction)
    return this.describe(rows, transaction)
  }

  /** Ends outages of gateways that have been connected since `connectedSinceMs` or longer, `limit` at most. */
  async end(
    {
      nowMs,
      connectedSinceMs,
      silentSinceMs,
      limit,
    }: {
      nowMs: number
      connectedSinceMs: number
      silentSinceMs: number
      limit: number
    },
    transaction: Transaction<Database>,
  ): Promise<OutageGateway[]> {
    // One that was only not heard of did not connect anew.
    const back = sql`case when gateways.connected_at_ms > gateway_outages.since_ms
      then gateways.connected_at_ms else cast(${nowMs} as bigint) end`
    const { rows } = await sql<OutageRow>`
      update gateway_outages set ended_at_ms = ${back}
      from gateways
      where gateways.id = gateway_outages.gateway_id and gateway_outages.ended_at_ms is null
        and gateways.connected = 1 and gateways.last_seen_at_ms >= ${silentSinceMs}
        and gateways.connected_at_ms <= ${connectedSinceMs}
        and gateway_outages.gateway_id in (
          select open.gateway_id from gateway_outages open join gateways there on there.id = open.gateway_id
          where open.ended_at_ms is null and there.connected = 1 and there.last_seen_at_ms >= ${silentSinceMs}
            and there.connected_at_ms <= ${connectedSinceMs}
          order by open.gateway_id limit ${limit})
      returning gateway_id, since_ms, noticed_at_ms, ended_at_ms`.execute(transaction)
    return this.describe(rows, transaction)
  }

  /** Of one gateway, the newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(gatewayId: string, request: PageRequest): Promise<Page<GatewayOutage>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.database.kysely
      .selectFrom('gateway_outages')
      .selectAll()
      .where('gateway_id', '=', gatewayId)
      .orderBy('since_ms', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(before(after, request.cursor))
    return toPage(await query.execute(), limit, ({ since_ms }) => String(since_ms), toOutage)
  }

  async countOpen(): Promise<number> {
    const row = await this.database.kysely
      .selectFrom('gateway_outages')
      .select(sql<number>`count(*)`.as('open'))
      .where('ended_at_ms', 'is', null)
      .executeTakeFirstOrThrow()
    return Number(row.open)
  }

  /** Removes some of those that ended before `beforeMs`; resolves with how many. */
  async purge(beforeMs: number, limit: number): Promise<number> {
    const { kysely, dialect } = this.database
    const old = await kysely
      .selectFrom('gateway_outages')
      .select(['gateway_id', 'since_ms'])
      .where('ended_at_ms', '<', beforeMs)
      .limit(limit)
      .execute()
    if (old.length === 0) return 0
    const given = givenRows(dialect, { gateway_id: 'text', since_ms: 'bigint' }, old)
    await sql`
      delete from gateway_outages where (gateway_id, since_ms) in (select given.gateway_id, given.since_ms from ${given})
      `.execute(kysely)
    return old.length
  }

  private async describe(rows: readonly OutageRow[], transaction: Transaction<Database>): Promise<OutageGateway[]> {
    if (rows.length === 0) return []
    const ids = givenTexts(
      this.database.dialect,
      rows.map((row) => row.gateway_id),
    )
    const gateways = await transaction
      .selectFrom('gateways')
      .select(['id', 'name', 'backlog_records', 'backlog_bytes'])
      .where(sql<boolean>`id in ${ids}`)
      .execute()
    const sites = await transaction
      .selectFrom('devices')
      .select(['gateway_id', 'site_id', sql<number>`count(*)`.as('devices')])
      .where(sql<boolean>`gateway_id in ${ids}`)
      .groupBy(['gateway_id', 'site_id'])
      .orderBy('site_id')
      .execute()
    const named = new Map(gateways.map((gateway) => [gateway.id, gateway]))
    const bySite = Map.groupBy(sites, (site) => site.gateway_id)
    return [...rows]
      .sort((a, b) => (a.gateway_id < b.gateway_id ? -1 : 1))
      .map((row) => {
        const gateway = named.get(row.gateway_id)
        const { backlog_records: records = null, backlog_bytes: bytes = null } = gateway ?? {}
        const there = bySite.get(row.gateway_id) ?? []
        return {
          ...toOutage(row),
          name: gateway?.name ?? null,
          backlog: records === null || bytes === null ? null : { records, bytes },
          devices: there.reduce((sum, { devices }) => sum + Number(devices), 0),
          siteIds: there.map((site) => site.site_id),
        }
      })
  }
}

function toOutage(row: OutageRow): GatewayOutage {
  return {
    gatewayId: row.gateway_id,
    sinceMs: row.since_ms,
    noticedAtMs: row.noticed_at_ms,
    endedAtMs: row.ended_at_ms,
  }
}

/** A forged cursor must not reach the database as something that it cannot hold. */
function before(key: string, cursor: string | undefined): RawBuilder<boolean> {
  if (!/^\d{1,15}$/.test(key)) {
    throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
  }
  return sql<boolean>`since_ms < ${Number(key)}`
}
