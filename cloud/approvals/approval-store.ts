/** Requests for a second person in the database. */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { ApprovalsTable, Database } from '../database/schema.ts'
import { parsedText } from '../database/stored-text.ts'
import { newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { allSitesCondition } from '../registry/site-condition.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { APPROVAL_ID_PATTERN, type Approval, type ApprovalKind, type ApprovalState } from './approval.ts'

export interface ApprovalFilter {
  readonly state?: ApprovalState | undefined
}

/** What a decision writes. */
export interface Decision {
  readonly state: Exclude<ApprovalState, 'PENDING' | 'EXPIRED'>
  readonly decidedBy: string
  readonly note: string | null
  readonly resultId: string | null
}

const PURGED_AT_ONCE = 500
const APPROVAL_SITES = { table: 'approval_sites', key: 'approval_id', of: 'approvals.id' } as const

export class ApprovalStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async insert(approval: Approval, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .insertInto('approvals')
      .values({
        id: approval.id,
        kind: approval.kind,
        command_type: approval.commandType,
        request: JSON.stringify(approval.request),
        requested_by: approval.requestedBy,
        created_at_ms: approval.requestedAtMs,
        expires_at_ms: approval.expiresAtMs,
        state: approval.state,
      })
      .execute()
    if (approval.siteIds.length === 0) return
    const rows = approval.siteIds.map((siteId) => ({ approval_id: approval.id, site_id: siteId }))
    await transaction.insertInto('approval_sites').values(rows).execute()
  }

  async get(id: string, kysely: Kysely<Database> = this.database.kysely): Promise<Approval | null> {
    const row = await kysely.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : ((await this.withSites([row], kysely))[0] as Approval)
  }

  /** The newest first; those whose every site is in `scope`, and those that `askedBy` asked for. */
  async list(
    request: PageRequest & ApprovalFilter,
    visible: { readonly scope: SiteScope; readonly askedBy: string },
    nowMs: number,
  ): Promise<Page<Approval>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.database.kysely
      .selectFrom('approvals')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, APPROVAL_ID_PATTERN))
    const { state } = request
    if (state === 'EXPIRED') query = query.where('state', '=', 'PENDING').where('expires_at_ms', '<=', nowMs)
    else if (state !== undefined) query = query.where('state', '=', state)
    if (state === 'PENDING') query = query.where('expires_at_ms', '>', nowMs)
    const { scope, askedBy } = visible
    const seen = allSitesCondition(this.database.dialect, APPROVAL_SITES, scope, askedBy)
    if (seen !== null) query = query.where(seen)
    const rows = await query.execute()
    const approvals = new Map((await this.withSites(rows)).map((approval) => [approval.id, approval]))
    return toPage(rows, limit, newestFirstKey, (row) => approvals.get(row.id) as Approval)
  }

  /** False when somebody else was quicker, or time has run out. */
  async decide(id: string, decision: Decision, nowMs: number, kysely: Kysely<Database>): Promise<boolean> {
    const { numUpdatedRows } = await kysely
      .updateTable('approvals')
      .set({
        state: decision.state,
        decided_by: decision.decidedBy,
        decided_at_ms: nowMs,
        note: decision.note,
        result_id: decision.resultId,
      })
      .where('id', '=', id)
      .where('state', '=', 'PENDING')
      .where('expires_at_ms', '>', nowMs)
      .executeTakeFirst()
    return numUpdatedRows > 0n
  }

  /** Removes some of those asked for before `beforeMs`; resolves with how many. */
  async purge(beforeMs: number): Promise<number> {
    const { kysely } = this.database
    const old = await kysely
      .selectFrom('approvals')
      .select('id')
      .where('created_at_ms', '<', beforeMs)
      .limit(PURGED_AT_ONCE)
      .execute()
    const ids = old.map((row) => row.id)
    if (ids.length === 0) return 0
    await this.database.transaction(async (transaction) => {
      await transaction.deleteFrom('approval_sites').where('approval_id', 'in', ids).execute()
      await transaction.deleteFrom('approvals').where('id', 'in', ids).execute()
    })
    return ids.length
  }

  private async withSites(
    rows: readonly Selectable<ApprovalsTable>[],
    kysely: Kysely<Database> = this.database.kysely,
  ): Promise<Approval[]> {
    const ids = rows.map((row) => row.id)
    const sites = await kysely
      .selectFrom('approval_sites')
      .selectAll()
      .where(sql<boolean>`approval_id in ${givenTexts(this.database.dialect, ids)}`)
      .orderBy('site_id')
      .execute()
    const byId = Map.groupBy(sites, (row) => row.approval_id)
    return rows.map((row) =>
      toApproval(
        row,
        (byId.get(row.id) ?? []).map((site) => site.site_id),
      ),
    )
  }
}

function toApproval(row: Selectable<ApprovalsTable>, siteIds: readonly number[]): Approval {
  return {
    id: row.id,
    kind: row.kind as ApprovalKind,
    commandType: row.command_type,
    request: parsedText(row.request),
    siteIds,
    requestedBy: row.requested_by,
    requestedAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    state: row.state as ApprovalState,
    decidedBy: row.decided_by,
    decidedAtMs: row.decided_at_ms,
    note: row.note,
    resultId: row.result_id,
  }
}
