/** Single commands in the database. */

import { type Insertable, type RawBuilder, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { CommandsTable, Database, Dialect } from '../database/schema.ts'
import { parsedText } from '../database/stored-text.ts'
import type { CommandState } from '../gateways/gateways.ts'
import { changedAfter, newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { siteCondition } from '../registry/site-condition.ts'
import { narrowed, type SiteScope } from '../registry/site-scope.ts'
import { COMMAND_ID_PATTERN } from './command-event.ts'
import type { DeliveryUpdate } from './delivery.ts'

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500

export const COMMAND_STATUSES = ['pending', 'sent'] as const
/** Whether command.events has it. */
export type CommandStatus = (typeof COMMAND_STATUSES)[number]

export interface CommandView {
  readonly id: string
  /** Serial number, as it was asked for. */
  readonly deviceId: string
  /** Null when the device is not registered and no site was named. */
  readonly siteId: number | null
  /** Of the registry; null when the device is not registered. */
  readonly registeredDeviceId: number | null
  readonly name: string
  /** Any JSON; null for none. */
  readonly payload: unknown
  readonly status: CommandStatus
  /** Times are Unix milliseconds. */
  readonly createdAtMs: number
  readonly sentAtMs: number | null
  readonly expiresAtMs: number
  readonly updatedAtMs: number
  /** Its way to the device; null when the device is not registered. */
  readonly delivery: CommandDelivery | null
}

export interface CommandDelivery {
  readonly state: CommandState
  /** For people; null when the state says it all. */
  readonly reason: string | null
  readonly deliveredAtMs: number | null
  readonly finishedAtMs: number | null
  /** What the device sent with its answer, any JSON. */
  readonly response: unknown
  /** What came after the end, which it does not change. */
  readonly late: { readonly state: CommandState; readonly response: unknown; readonly atMs: number } | null
}

export interface CommandFilter {
  readonly deviceId?: string | undefined
  readonly siteId?: number | undefined
  readonly registeredDeviceId?: number | undefined
  readonly status?: CommandStatus | undefined
  readonly deliveryState?: CommandState | undefined
  /** Created at or after, Unix milliseconds. */
  readonly createdAfterMs?: number | undefined
  /** Created before. */
  readonly createdBeforeMs?: number | undefined
  /** Of no other sites; those at no known site are for who has all. */
  readonly sites?: SiteScope
}

type Row = Selectable<CommandsTable>

export class CommandStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async insert(row: Insertable<CommandsTable>, transaction: Transaction<Database>): Promise<CommandView> {
    return toView(await transaction.insertInto('commands').values(row).returningAll().executeTakeFirstOrThrow())
  }

  async get(id: string): Promise<CommandView | null> {
    const row = await this.database.kysely.selectFrom('commands').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toView(row)
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(request: PageRequest & CommandFilter): Promise<Page<CommandView>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { deviceId, registeredDeviceId, status, deliveryState, createdAfterMs, createdBeforeMs } = request
    const within = siteCondition(this.database.dialect, 'site_id', narrowed(request.sites ?? 'all', request.siteId))
    let query = this.database.kysely
      .selectFrom('commands')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, COMMAND_ID_PATTERN))
    if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
    if (within !== null) query = query.where(within)
    if (registeredDeviceId !== undefined) query = query.where('registered_device_id', '=', registeredDeviceId)
    // Literally, because SQLite finds the index of those that are pending by it.
    if (status !== undefined) query = query.where('status', '=', sql.lit(status))
    if (deliveryState !== undefined) query = query.where('delivery_state', '=', deliveryState)
    if (createdAfterMs !== undefined) query = query.where('created_at_ms', '>=', createdAfterMs)
    if (createdBeforeMs !== undefined) query = query.where('created_at_ms', '<', createdBeforeMs)
    return toPage(await query.execute(), limit, newestFirstKey, toView)
  }

  /** See `CommandService.changedSince`. */
  async changedSince(sinceMs: number, limit: number, afterId: string): Promise<CommandView[]> {
    const rows = await this.database.kysely
      .selectFrom('commands')
      .selectAll()
      .where(changedAfter(sinceMs, afterId))
      .orderBy('updated_at_ms')
      .orderBy('id')
      .limit(limit)
      .execute()
    return rows.map(toView)
  }

  /** Those that are on command.events now. */
  async markSent(
    ids: readonly string[],
    sentAtMs: number,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const ordered = ids.toSorted()
    for (let start = 0; start < ordered.length; start += ROWS_PER_STATEMENT) {
      const some = ordered.slice(start, start + ROWS_PER_STATEMENT)
      await this.lock(some, transaction)
      await transaction
        .updateTable('commands')
        .set({ status: 'sent' satisfies CommandStatus, sent_at_ms: sentAtMs, updated_at_ms: nowMs })
        .where('id', 'in', some)
        .where('status', '=', 'pending' satisfies CommandStatus)
        .execute()
    }
  }

  /** @param updates ascending by id; those of commands that are not kept any more do nothing. */
  async writeDelivery(
    updates: readonly DeliveryUpdate[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    for (let start = 0; start < updates.length; start += ROWS_PER_STATEMENT) {
      const some = updates.slice(start, start + ROWS_PER_STATEMENT)
      await this.lock(
        some.map(({ id }) => id),
        transaction,
      )
      await updateDelivery(this.database.dialect, some, nowMs).execute(transaction)
    }
  }

  /** Removes up to 500 that ended before `beforeMs`, the oldest first; resolves with how many. */
  async purge(beforeMs: number): Promise<number> {
    const { kysely } = this.database
    const ended = kysely
      .selectFrom('commands')
      .select('id')
      .where('created_at_ms', '<', beforeMs)
      .where((e) =>
        e.or([
          e('finished_at_ms', '<', beforeMs),
          e.and([e('delivery_state', 'is', null), e('sent_at_ms', '<', beforeMs)]),
        ]),
      )
      .orderBy('created_at_ms')
      .orderBy('id')
      .limit(ROWS_PER_STATEMENT)
    const deleted = await kysely.deleteFrom('commands').where('id', 'in', ended).executeTakeFirst()
    return Number(deleted.numDeletedRows)
  }

  /** In one order for all cores: two that wait for each other's rows would wait for ever. SQLite has one writer as it is. */
  private async lock(ids: readonly string[], transaction: Transaction<Database>): Promise<void> {
    if (this.database.dialect === 'sqlite') return
    await sql`select id from commands where id = any(${ids}::text[]) order by id for update`.execute(transaction)
  }
}

function updateDelivery(dialect: Dialect, updates: readonly DeliveryUpdate[], nowMs: number): RawBuilder<unknown> {
  return sql`
    update commands set
      delivery_state = coalesce(given.state, commands.delivery_state),
      delivery_reason = case when given.state is null then commands.delivery_reason else given.reason end,
      delivered_at_ms = coalesce(given.delivered_at_ms, commands.delivered_at_ms),
      finished_at_ms = coalesce(given.finished_at_ms, commands.finished_at_ms),
      response = coalesce(given.response, commands.response),
      late_state = coalesce(given.late_state, commands.late_state),
      late_response = case when given.late_state is null then commands.late_response else given.late_response end,
      late_at_ms = coalesce(given.late_at_ms, commands.late_at_ms),
      updated_at_ms = ${nowMs}
    from ${givenRows(dialect, DELIVERY_COLUMNS, updates)}
    where commands.id = given.id`
}

const DELIVERY_COLUMNS = {
  id: 'text',
  state: 'text',
  reason: 'text',
  delivered_at_ms: 'bigint',
  finished_at_ms: 'bigint',
  response: 'text',
  late_state: 'text',
  late_response: 'text',
  late_at_ms: 'bigint',
} as const

function toView(row: Row): CommandView {
  return {
    id: row.id,
    deviceId: row.device_id,
    siteId: row.site_id,
    registeredDeviceId: row.registered_device_id,
    name: row.name,
    payload: parsedText(row.payload),
    status: row.status as CommandStatus,
    createdAtMs: row.created_at_ms,
    sentAtMs: row.sent_at_ms,
    expiresAtMs: row.expires_at_ms,
    updatedAtMs: row.updated_at_ms,
    delivery: toDelivery(row),
  }
}

function toDelivery(row: Row): CommandDelivery | null {
  if (row.delivery_state === null) return null
  const { late_state: lateState, late_at_ms: lateAtMs } = row
  return {
    state: row.delivery_state as CommandState,
    reason: row.delivery_reason,
    deliveredAtMs: row.delivered_at_ms,
    finishedAtMs: row.finished_at_ms,
    response: parsedText(row.response),
    late:
      lateState === null || lateAtMs === null
        ? null
        : { state: lateState as CommandState, response: parsedText(row.late_response), atMs: lateAtMs },
  }
}
