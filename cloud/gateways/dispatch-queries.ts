/** What the dispatcher asks the table of commands, each question answered from an index that holds little else. */

import { type Kysely, sql } from 'kysely'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { NewDeviceCommand } from './device-command.ts'

export interface HeldSession {
  readonly gatewayId: string
  readonly sessionId: string
}

export interface DueCommand extends HeldSession {
  readonly commandId: string
  /** Of its parameters. */
  readonly bytes: number
}

export interface DueRequest {
  readonly held: readonly (HeldSession & { readonly space: number })[]
  readonly nowMs: number
  /** How long after a refusal it is tried again. */
  readonly refusedPauseMs: number
  /** How long after it was handed over without a receipt it is handed over again. */
  readonly unansweredMs: number
  /** Ids to leave out. */
  readonly except: readonly string[]
  readonly limit: number
}

/**
 * Commands that are to go down the sessions held, no more of a gateway than it has space for, its oldest first: those that
 * no session has, those that an older session has without a receipt, and those that ours has for too long. A session
 * whose lease another one has gets nothing.
 */
export async function selectDue(
  kysely: Kysely<Database>,
  dialect: Dialect,
  request: DueRequest,
): Promise<DueCommand[]> {
  const { held, except, limit } = request
  const spaces = held.map(({ gatewayId, sessionId, space }) => ({
    gateway_id: gatewayId,
    session_id: sessionId,
    space,
  }))
  const nowMs = Math.round(request.nowMs)
  // Two-sided: a clock that was stepped back must not hold commands up until it has caught up.
  const outside = (pauseMs: number) => sql`not between ${nowMs - pauseMs} and ${nowMs + pauseMs}`
  const { rows } = await sql<DueCommand>`
    select command_id as "commandId", gateway_id as "gatewayId", session_id as "sessionId", bytes as "bytes" from (
      select
        command.command_id, given.gateway_id, given.session_id, given.space, octet_length(command.params) as bytes,
        row_number() over (partition by given.gateway_id order by command.issued_at_ms, command.command_id) as place
      from ${givenRows(dialect, { gateway_id: 'text', session_id: 'text', space: 'integer' }, spaces)}
      join gateway_leases as lease on lease.gateway_id = given.gateway_id and lease.session_id = given.session_id
      join device_commands as command on command.gateway_id = given.gateway_id
      where command.finished_at_ms is null and command.stored_at_ms is null and (
        (command.session_id is null and command.expires_at_ms > ${nowMs}
          and (command.sent_at_ms is null or command.sent_at_ms ${outside(request.refusedPauseMs)}))
        or command.session_id <> given.session_id
        or (command.session_id = given.session_id and command.sent_at_ms ${outside(request.unansweredMs)})
      )
      ${except.length === 0 ? sql`` : sql`and command.command_id not in ${givenTexts(dialect, except)}`}
    ) as due
    where place <= space
    order by place, gateway_id
    limit ${limit}`.execute(kysely)
  return rows
}

/** Commands that are with the gateways held and not wanted any more, and of which their sessions were not told lately. */
export async function selectCancellations(
  kysely: Kysely<Database>,
  dialect: Dialect,
  request: Pick<DueRequest, 'nowMs' | 'except' | 'limit'> & {
    readonly held: readonly HeldSession[]
    /** How long after it was told a session is told again. */
    readonly repeatMs: number
  },
): Promise<Omit<DueCommand, 'bytes'>[]> {
  const { held, except, limit, repeatMs } = request
  const sessions = held.map(({ gatewayId, sessionId }) => ({ gateway_id: gatewayId, session_id: sessionId }))
  const nowMs = Math.round(request.nowMs)
  const { rows } = await sql<Omit<DueCommand, 'bytes'>>`
    select
      command.command_id as "commandId", given.gateway_id as "gatewayId", given.session_id as "sessionId"
    from ${givenRows(dialect, { gateway_id: 'text', session_id: 'text' }, sessions)}
    join gateway_leases as lease on lease.gateway_id = given.gateway_id and lease.session_id = given.session_id
    join device_commands as command on command.gateway_id = given.gateway_id
    where command.finished_at_ms is null and command.cancel_requested_at_ms is not null
      and command.state = 'SENT' and command.session_id is not null
      and (command.cancel_session_id is distinct from given.session_id
        or command.cancel_sent_at_ms not between ${nowMs - repeatMs} and ${nowMs + repeatMs})
      ${except.length === 0 ? sql`` : sql`and command.command_id not in ${givenTexts(dialect, except)}`}
    order by command.cancel_requested_at_ms, command.command_id
    limit ${limit}`.execute(kysely)
  return rows
}

/** Commands whose deadline has come, the oldest deadline first. */
export async function selectOverdue(
  kysely: Kysely<Database>,
  dialect: Dialect,
  request: Pick<DueRequest, 'nowMs' | 'except' | 'limit'>,
): Promise<string[]> {
  const rows = await kysely
    .selectFrom('device_commands')
    .select('command_id')
    .where('finished_at_ms', 'is', null)
    .where('deadline_at_ms', '<=', Math.round(request.nowMs))
    .$if(request.except.length > 0, (query) =>
      query.where(sql<boolean>`command_id not in ${givenTexts(dialect, request.except)}`),
    )
    .orderBy('deadline_at_ms')
    .limit(request.limit)
    .execute()
  return rows.map((row) => row.command_id)
}

/** The next commands after `after` that no session has, and the gateway that their device is behind now. */
export function selectRoutes(
  kysely: Kysely<Database>,
  after: string,
  limit: number,
): Promise<{ command_id: string; gateway_id: string | null; there: string | null }[]> {
  return kysely
    .selectFrom('device_commands as command')
    .leftJoin('devices', 'devices.id', 'command.device_id')
    .select(['command.command_id', 'command.gateway_id', 'devices.gateway_id as there'])
    .where('command.finished_at_ms', 'is', null)
    .where('command.session_id', 'is', null)
    .where('command.command_id', '>', after)
    .orderBy('command.command_id')
    .limit(limit)
    .execute()
}

/** What a device is to do, by command. */
export async function selectOrders(
  kysely: Kysely<Database>,
  dialect: Dialect,
  ids: readonly string[],
): Promise<Map<string, Pick<NewDeviceCommand, 'name' | 'params' | 'issuedAtMs'>>> {
  const rows = await kysely
    .selectFrom('device_commands')
    .select(['command_id', 'name', 'params', 'issued_at_ms as issuedAtMs'])
    .where(sql<boolean>`command_id in ${givenTexts(dialect, ids)}`)
    .execute()
  return new Map(rows.map(({ command_id: commandId, ...order }) => [commandId, order]))
}

/** Of all cores; from indexes that hold only what is not finished. */
export async function countOpen(
  kysely: Kysely<Database>,
): Promise<{ readonly open: number; readonly unstored: number; readonly waiting: number }> {
  const { rows } = await sql<{ open: number; unstored: number; waiting: number }>`
    select
      (select count(*) from device_commands where finished_at_ms is null) as open,
      (select count(*) from device_commands where finished_at_ms is null and stored_at_ms is null) as unstored,
      (select count(*) from device_commands where finished_at_ms is null and session_id is null) as waiting
    `.execute(kysely)
  return rows[0] ?? { open: 0, unstored: 0, waiting: 0 }
}
