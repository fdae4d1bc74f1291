/** The history of statuses in the database, by device, event time and sequence. */

import { type RawBuilder, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { storableReason } from '../database/stored-text.ts'
import type { DeviceStatus } from '../registry/device.ts'
import type { StatusEvent } from '../registry/device-event.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'

/** A change of a device's status. */
export interface StatusHistoryEntry {
  readonly deviceId: number
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  /** Null when it was not told, or no status. */
  readonly previous: DeviceStatus | null
  readonly status: DeviceStatus
  readonly reason: string | null
  /** `$cloud` for what the cloud found by itself. */
  readonly gatewayId: string | null
  /** It was stored in the gateway before it came. */
  readonly backfill: boolean
}

export interface HistoryRange {
  /** Event times from this one on, Unix milliseconds. */
  readonly fromMs?: number | undefined
  /** … and before this one. */
  readonly toMs?: number | undefined
}

/** A place in the history: what a walk goes on after. */
export interface HistoryKey {
  readonly device_id: number
  readonly at_ms: number
  readonly seq: number
}

export interface HistoryPoint extends HistoryKey {
  readonly status: DeviceStatus
}

const COLUMNS = {
  device_id: 'integer',
  at_ms: 'bigint',
  seq: 'bigint',
  previous_status: 'text',
  status: 'text',
  reason: 'text',
  gateway_id: 'text',
  backfill: 'integer',
} as const
/** Rows of one statement. */
const ROWS_PER_STATEMENT = 1_000
const CURSOR_KEY = /^(-?\d{1,16})\/(-?\d{1,16})$/

export class HistoryStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** The same event twice is there once. */
  async append(events: readonly StatusEvent[], transaction: Transaction<Database>): Promise<void> {
    // One order for all cores: two that insert the same events, as when partitions move, cannot wait for each other.
    const ordered = events.toSorted((a, b) => a.deviceId - b.deviceId || a.atMs - b.atMs || a.seq - b.seq)
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      const rows = ordered.slice(start, start + ROWS_PER_STATEMENT).map((event) => ({
        device_id: event.deviceId,
        at_ms: event.atMs,
        seq: event.seq,
        previous_status: event.previous,
        status: event.status,
        reason: storableReason(event.reason),
        gateway_id: storableReason(event.gatewayId),
        backfill: event.backfill ? 1 : 0,
      }))
      const columns = sql.join(Object.keys(COLUMNS).map((column) => sql.ref(column)))
      // Without a condition SQLite takes "on conflict" for that of a join.
      await sql`
        insert into status_history (${columns})
        select ${columns} from ${givenRows(this.database.dialect, COLUMNS, rows)} where true
        on conflict do nothing`.execute(transaction)
    }
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(deviceId: number, request: PageRequest & HistoryRange): Promise<Page<StatusHistoryEntry>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { fromMs, toMs } = request
    let query = this.database.kysely
      .selectFrom('status_history')
      .selectAll()
      .where('device_id', '=', deviceId)
      .orderBy('at_ms', 'desc')
      .orderBy('seq', 'desc')
      .limit(limit + 1)
    if (fromMs !== undefined) query = query.where('at_ms', '>=', fromMs)
    if (toMs !== undefined) query = query.where('at_ms', '<', toMs)
    if (after !== null) query = query.where(olderThan(after, request.cursor))
    return toPage(
      await query.execute(),
      limit,
      ({ at_ms, seq }) => `${at_ms}/${seq}`,
      (row) => ({
        deviceId: row.device_id,
        atMs: row.at_ms,
        previous: row.previous_status as DeviceStatus | null,
        status: row.status as DeviceStatus,
        reason: row.reason,
        gatewayId: row.gateway_id,
        backfill: row.backfill === 1,
      }),
    )
  }

  /** The last change of each device at `atMs` or before; devices without one are left out. */
  async lastBy(deviceIds: readonly number[], atMs: number): Promise<HistoryPoint[]> {
    const { kysely, dialect } = this.database
    const ids = givenRows(
      dialect,
      { id: 'integer' },
      deviceIds.map((id) => ({ id })),
    )
    const { rows } = await sql<HistoryPoint>`
      select history.device_id, history.at_ms, history.seq, history.status
      from ${ids} join status_history history on history.device_id = given.id
        and history.at_ms = (select max(at_ms) from status_history where device_id = given.id and at_ms <= ${atMs})
      order by history.device_id, history.seq`.execute(kysely)
    // Of several of one time the last one holds.
    return [...new Map(rows.map((row) => [row.device_id, row])).values()]
  }

  /** Changes of the devices after `fromMs` and before `toMs`, by device and time, `limit` at most, those after `after`. */
  async walk(
    deviceIds: readonly number[],
    { fromMs, toMs, after, limit }: { fromMs: number; toMs: number; after: HistoryKey | null; limit: number },
  ): Promise<HistoryPoint[]> {
    const query = this.database.kysely
      .selectFrom('status_history')
      .select(['device_id', 'at_ms', 'seq', 'status'])
      .where('device_id', 'in', deviceIds)
      .where('at_ms', '>', fromMs)
      .where('at_ms', '<', toMs)
      .orderBy('device_id')
      .orderBy('at_ms')
      .orderBy('seq')
      .limit(limit)
    const rows = await (after === null ? query : query.where(beyond(after))).execute()
    return rows as HistoryPoint[]
  }

  /**
   * One step of removing what is older than `beforeMs`, from the oldest on. The last change before that time stays, since
   * it says what the device has been from then on.
   * @param after where the step before ended.
   * @returns where this one ended; null when nothing is left to look at.
   */
  async purge(beforeMs: number, after: HistoryKey | null): Promise<HistoryKey | null> {
    const { kysely, dialect } = this.database
    let query = kysely
      .selectFrom('status_history')
      .select(['device_id', 'at_ms', 'seq'])
      .where('at_ms', '<', beforeMs)
      .orderBy('at_ms')
      .orderBy('device_id')
      .orderBy('seq')
      .limit(ROWS_PER_STATEMENT)
    if (after !== null) {
      const { device_id, at_ms, seq } = after
      query = query
        .where('at_ms', '>=', at_ms)
        .where(sql<boolean>`(at_ms, device_id, seq) > (${at_ms}, ${device_id}, ${seq})`)
    }
    const rows = await query.execute()
    if (rows.length === 0) return null
    const given = givenRows(dialect, { device_id: 'integer', at_ms: 'bigint', seq: 'bigint' }, rows)
    await sql`
      delete from status_history where (device_id, at_ms, seq) in (
        select given.device_id, given.at_ms, given.seq from ${given}
        where exists (
          select 1 from status_history later
          where later.device_id = given.device_id and later.at_ms >= given.at_ms and later.at_ms < ${beforeMs}
            and (later.at_ms, later.seq) > (given.at_ms, given.seq)))`.execute(kysely)
    return rows.length < ROWS_PER_STATEMENT ? null : (rows.at(-1) ?? null)
  }
}

/** A forged cursor must not reach the database as something that it cannot hold. */
function olderThan(key: string, cursor: string | undefined): RawBuilder<boolean> {
  const [, atMs, seq] = (CURSOR_KEY.exec(key) ?? []).map(Number)
  if (!Number.isSafeInteger(atMs) || !Number.isSafeInteger(seq)) {
    throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
  }
  return sql<boolean>`(at_ms <= ${atMs} and (at_ms < ${atMs} or seq < ${seq}))`
}

function beyond({ device_id, at_ms, seq }: HistoryKey): RawBuilder<boolean> {
  return sql<boolean>`(device_id >= ${device_id} and (device_id, at_ms, seq) > (${device_id}, ${at_ms}, ${seq}))`
}
