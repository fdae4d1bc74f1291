/** What the dispatcher asks the table of commands, each question answered from an index that holds little else. */

import { type Kysely, type RawBuilder, sql } from 'kysely'
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
  readonly nowMs: number
  /** How long after a refusal it is tried again. */
  readonly refusedPauseMs: number
  /** How long after it was handed over without a receipt it is handed over again. */
  readonly unansweredMs: number
  /** Ids to leave out. */
  readonly except: readonly string[]
}

/** Those of the sessions held for which there is a command to hand over. A session whose lease another one has gets none. */
export async function selectAwaited<Held extends HeldSession>(
  kysely: Kysely<Database>,
  dialect: Dialect,
  held: readonly Held[],
  request: DueRequest,
): Promise<Held[]> {
  // No `exists`: PostgreSQL would make a join of it, which reads everything that waits for anybody.
  const { rows } = await sql<{ session_id: string }>`
    select given.session_id
    from ${givenSessions(dialect, held)}
    join gateway_leases as lease on lease.gateway_id = given.gateway_id and lease.session_id = given.session_id
    where (
      select 1 from device_commands as command
      where command.gateway_id = given.gateway_id and ${isDue(dialect, sql`given.session_id`, request)}
      limit 1
    ) is not null`.execute(kysely)
  const awaited = new Set(rows.map((row) => row.session_id))
  return held.filter((session) => awaited.has(session.sessionId))
}

/**
 * The oldest commands that are to go down each of these sessions, at most `space` of each: those that no session has, those
 * that an older session has without a receipt, and those that this one has for too long. One part for each session, which
 * reads no more of the index than it gives, whatever waits behind it; so there should not be too many of them.
 */
export async function selectDue(
  kysely: Kysely<Database>,
  dialect: Dialect,
  sessions: readonly (HeldSession & { readonly space: number })[],
  request: DueRequest,
): Promise<DueCommand[]> {
  const parts = sessions.map(
    ({ gatewayId, sessionId, space }) => sql`
      select * from (
        select
          command.command_id as "commandId", command.gateway_id as "gatewayId",
          cast(${sessionId} as text) as "sessionId", octet_length(command.params) as "bytes"
        from device_commands as command
        where command.gateway_id = ${gatewayId} and ${isDue(dialect, sql`${sessionId}`, request)}
        order by command.issued_at_ms, command.command_id
        limit ${space}
      ) as oldest`,
  )
  const { rows } = await sql<DueCommand>`${sql.join(parts, sql` union all `)}`.execute(kysely)
  return rows
}

/** Two-sided: a clock that was stepped back must not hold commands up until it has caught up. */
function isDue(dialect: Dialect, sessionId: RawBuilder<unknown>, request: DueRequest): RawBuilder<unknown> {
  const { refusedPauseMs, unansweredMs, except } = request
  const nowMs = Math.round(request.nowMs)
  return sql`
    command.finished_at_ms is null and command.stored_at_ms is null and (
      (command.session_id is null and command.expires_at_ms > ${nowMs} and (command.sent_at_ms is null
        or command.sent_at_ms not between ${nowMs - refusedPauseMs} and ${nowMs + refusedPauseMs}))
      or command.session_id <> ${sessionId}
      or (command.session_id = ${sessionId}
        and command.sent_at_ms not between ${nowMs - unansweredMs} and ${nowMs + unansweredMs})
    )
    ${except.length === 0 ? sql`` : sql`and command.command_id not in ${givenTexts(dialect, except)}`}`
}

function givenSessions(dialect: Dialect, held: readonly HeldSession[]): RawBuilder<unknown> {
  const rows = held.map(({ gatewayId, sessionId }) => ({ gateway_id: gatewayId, session_id: sessionId }))
  return givenRows(dialect, { gateway_id: 'text', session_id: 'text' }, rows)
}

/** Commands that are with the gateways held and not wanted any more, and of which their sessions were not told lately. */
export async function selectCancellations(
  kysely: Kysely<Database>,
  dialect: Dialect,
  request: Pick<DueRequest, 'nowMs' | 'except'> & {
    readonly limit: number
    readonly held: readonly HeldSession[]
    /** How long after it was told a session is told again. */
    readonly repeatMs: number
  },
): Promise<Omit<DueCommand, 'bytes'>[]> {
  const { held, except, limit, repeatMs } = request
  const nowMs = Math.round(request.nowMs)
  const { rows } = await sql<Omit<DueCommand, 'bytes'>>`
    select
      command.command_id as "commandId", given.gateway_id as "gatewayId", given.session_id as "sessionId"
    from ${givenSessions(dialect, held)}
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
  request: Pick<DueRequest, 'nowMs' | 'except'> & { readonly limit: number },
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

/** The next commands after `after` that were never handed over, and the gateway that their device is behind now. */
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
    .where('command.state', '=', 'QUEUED')
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
