/** Alerts in the database. */

import { type Kysely, sql, type Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { changedAfter, newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { siteCondition } from '../registry/site-condition.ts'
import { narrowed } from '../registry/site-scope.ts'
import { type AlertFinding, toRow, toView } from './alert-rows.ts'
import { ALERT_ID_PATTERN, type AlertFilter, type AlertStatus, type AlertView, type CloseReason } from './alert-view.ts'

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500
/** An event time may be ahead of our clock by less, milliseconds. */
const CLOCK_AHEAD_MS = 2 * 86_400_000

export class AlertStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async get(id: string, kysely: Kysely<Database> = this.database.kysely): Promise<AlertView | null> {
    const row = await kysely.selectFrom('alerts').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toView(row)
  }

  /** Those of them that there are. */
  async some(ids: readonly string[], kysely: Kysely<Database>): Promise<AlertView[]> {
    const given = sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`
    return (await kysely.selectFrom('alerts').selectAll().where(given).execute()).map(toView)
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(request: PageRequest & AlertFilter): Promise<Page<AlertView>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { state, severity, siteId, deviceId, serialNumber, ruleId, past, fromMs, toMs, sites = 'all' } = request
    const within = siteCondition(this.database.dialect, 'site_id', narrowed(sites, siteId))
    let query = this.database.kysely
      .selectFrom('alerts')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, ALERT_ID_PATTERN))
    // As the index of open alerts has it, so that SQLite finds it.
    if (state === 'OPEN') query = query.where('closed_at_ms', 'is', null)
    if (state === 'CLOSED') query = query.where('closed_at_ms', 'is not', null)
    if (severity !== undefined) query = query.where('severity', '=', severity)
    if (within !== null) query = query.where(within)
    if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
    if (serialNumber !== undefined) query = query.where('serial_number', '=', serialNumber)
    if (ruleId !== undefined) query = query.where('rule_id', '=', ruleId)
    if (past !== undefined) query = query.where('past', '=', past ? 1 : 0)
    if (fromMs !== undefined) {
      // Stored about when it opened or later: the second bound ends the walk through the index there.
      query = query.where('opened_at_ms', '>=', fromMs).where('created_at_ms', '>=', fromMs - CLOCK_AHEAD_MS)
    }
    if (toMs !== undefined) query = query.where('opened_at_ms', '<', toMs)
    return toPage(await query.execute(), limit, newestFirstKey, toView)
  }

  /** See `Alerts.changedSince`. */
  async changedSince(sinceMs: number, limit: number, afterId: string): Promise<AlertView[]> {
    const rows = await this.database.kysely
      .selectFrom('alerts')
      .selectAll()
      .where(changedAfter(sinceMs, afterId))
      .orderBy('updated_at_ms')
      .orderBy('id')
      .limit(limit)
      .execute()
    return rows.map(toView)
  }

  async countOpen(): Promise<number> {
    const row = await this.database.kysely
      .selectFrom('alerts')
      .select(({ fn }) => fn.countAll<number | string>().as('open'))
      .where('closed_at_ms', 'is', null)
      .executeTakeFirst()
    return Number(row?.open ?? 0)
  }

  /** @param findings ascending by id. An alert that is there already stays as it was opened; one that is closed stays closed. */
  async write(findings: readonly AlertFinding[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const opened = findings.flatMap((finding) =>
      finding.opened === null ? [] : [toRow(finding, finding.opened, nowMs)],
    )
    for (let start = 0; start < opened.length; start += ROWS_PER_STATEMENT) {
      if (start > 0) await nextTurn()
      await transaction
        .insertInto('alerts')
        .values(opened.slice(start, start + ROWS_PER_STATEMENT))
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute()
    }
    const known = findings.filter(({ opened }) => opened === null)
    for (let start = 0; start < known.length; start += ROWS_PER_STATEMENT) {
      if (start > 0) await nextTurn()
      const rows = known.slice(start, start + ROWS_PER_STATEMENT).map(
        ({ id, valueWorst, closedAtMs, closeReason, valueClosed }) => sql`(
          cast(${id} as text), cast(${valueWorst} as double precision), cast(${closedAtMs} as bigint),
          cast(${closeReason} as text), cast(${valueClosed} as double precision))`,
      )
      // Both databases name the columns of a VALUES list column1, column2, …
      await sql`
        update alerts set
          value_worst = given.column2,
          closed_at_ms = coalesce(given.column3, alerts.closed_at_ms),
          close_reason = coalesce(given.column4, alerts.close_reason),
          value_closed = coalesce(given.column5, alerts.value_closed),
          state = case when coalesce(given.column3, alerts.closed_at_ms) is null then 'OPEN' else 'CLOSED' end,
          escalate_at_ms = case when given.column3 is null then escalate_at_ms else null end,
          updated_at_ms = ${nowMs}
        from (values ${sql.join(rows)}) as given
        where alerts.id = given.column1 and (alerts.closed_at_ms is null or alerts.past = 1)`.execute(transaction)
    }
  }

  /** Closes what is open of a rule, at `nowMs`. Resolves with what was closed, ascending by id. */
  async closeOfRule(
    ruleId: string,
    closeReason: CloseReason,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<AlertView[]> {
    const open = transaction
      .selectFrom('alerts')
      .select('id')
      .where('rule_id', '=', ruleId)
      .where('closed_at_ms', 'is', null)
      .orderBy('id')
    const rows = await (this.database.dialect === 'postgres' ? open.forUpdate() : open).execute()
    return await this.close(
      rows.map(({ id }) => id),
      closeReason,
      nowMs,
      transaction,
    )
  }

  /** Closes those of them that are open, at `nowMs`. @param ids ascending. */
  async close(
    ids: readonly string[],
    closeReason: CloseReason,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<AlertView[]> {
    const closed: AlertView[] = []
    for (let start = 0; start < ids.length; start += ROWS_PER_STATEMENT) {
      if (start > 0) await nextTurn()
      const rows = await transaction
        .updateTable('alerts')
        .set({
          state: 'CLOSED' satisfies AlertStatus,
          // The gateway's clock may be ahead of ours.
          closed_at_ms: sql`case when opened_at_ms > ${nowMs} then opened_at_ms else ${nowMs} end`,
          close_reason: closeReason,
          escalate_at_ms: null,
          updated_at_ms: nowMs,
        })
        .where('id', 'in', ids.slice(start, start + ROWS_PER_STATEMENT))
        .where('closed_at_ms', 'is', null)
        .returningAll()
        .execute()
      closed.push(...rows.map(toView))
    }
    return closed.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Null when it is closed, acknowledged already, or not there. */
  async acknowledge(
    id: string,
    by: { readonly userId: string; readonly note: string | null },
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<AlertView | null> {
    const row = await transaction
      .updateTable('alerts')
      .set({
        acknowledged_at_ms: nowMs,
        acknowledged_by: by.userId,
        acknowledged_note: by.note,
        escalate_at_ms: null,
        updated_at_ms: nowMs,
      })
      .where('id', '=', id)
      .where('closed_at_ms', 'is', null)
      .where('acknowledged_at_ms', 'is', null)
      .returningAll()
      .executeTakeFirst()
    return row === undefined ? null : toView(row)
  }

  /** Open alerts whose escalation is due, `limit` at most, marked as escalated: whoever gets one tells it. */
  async claimEscalations(nowMs: number, limit: number, transaction: Transaction<Database>): Promise<AlertView[]> {
    const due = transaction
      .selectFrom('alerts')
      .select('id')
      .where('escalate_at_ms', 'is not', null)
      .where('escalate_at_ms', '<=', nowMs)
      .where('closed_at_ms', 'is', null)
      .orderBy('id')
      .limit(limit)
    const rows = await (this.database.dialect === 'postgres' ? due.forUpdate().skipLocked() : due).execute()
    if (rows.length === 0) return []
    const claimed = await transaction
      .updateTable('alerts')
      .set({ escalate_at_ms: null, escalated_at_ms: nowMs, updated_at_ms: nowMs })
      .where(
        'id',
        'in',
        rows.map(({ id }) => id),
      )
      .where('escalate_at_ms', 'is not', null)
      .returningAll()
      .execute()
    return claimed.map(toView).sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Open alerts of devices that their rule is not about any more, since the device has another type; `limit` at most. */
  async outOfScope(limit: number): Promise<string[]> {
    const rows = await this.database.kysely
      .selectFrom('alerts')
      .innerJoin('alert_rules', 'alert_rules.id', 'alerts.rule_id')
      .innerJoin('devices', 'devices.id', 'alerts.device_id')
      .select('alerts.id')
      .where('alerts.closed_at_ms', 'is', null)
      .where('alert_rules.device_type', 'is not', null)
      .whereRef('alert_rules.device_type', '<>', 'devices.device_type')
      .orderBy('alerts.id')
      .limit(limit)
      .execute()
    return rows.map(({ id }) => id)
  }

  /** Removes alerts that closed, as far as we noted it, before that time, `ROWS_PER_STATEMENT` at most; resolves with how many. */
  async purge(beforeMs: number): Promise<number> {
    const { kysely } = this.database
    const old = await kysely
      .selectFrom('alerts')
      .select('id')
      .where('updated_at_ms', '<', beforeMs)
      .where('closed_at_ms', 'is not', null)
      .orderBy('updated_at_ms')
      .limit(ROWS_PER_STATEMENT)
      .execute()
    if (old.length === 0) return 0
    const ids = old.map(({ id }) => id)
    const { numDeletedRows } = await kysely
      .deleteFrom('alerts')
      .where('id', 'in', ids)
      .where('updated_at_ms', '<', beforeMs)
      .executeTakeFirstOrThrow()
    return Number(numDeletedRows)
  }
}
