/** Alert rules in the database. */

import { type RawBuilder, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { AlertRulesTable, Database, Dialect } from '../database/schema.ts'
import type { Severity } from '../notifications/notifications.ts'
import { newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { siteCondition } from '../registry/site-condition.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { type AlertRule, type Escalation, RULE_ID_PATTERN, type RuleRecipients } from './alert-rule.ts'
import type { Condition } from './condition.ts'

export interface AlertRuleFilter {
  readonly enabled?: boolean | undefined
  readonly severity?: Severity | undefined
  /** As the rule names them: a rule of all sites is not one of site 3. */
  readonly siteId?: number | undefined
  readonly deviceType?: string | undefined
  readonly deviceId?: number | undefined
  /** About no other sites; those about no site in particular are for everybody. */
  readonly sites?: SiteScope
}

/** What of a rule is stored as JSON. */
interface Told extends RuleRecipients {
  readonly escalation: Escalation | null
}

export class AlertRuleStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async insert(rule: AlertRule, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .insertInto('alert_rules')
      .values({ ...toRow(rule), id: rule.id, created_at_ms: rule.createdAtMs })
      .execute()
  }

  async get(id: string): Promise<AlertRule | null> {
    const row = await this.database.kysely
      .selectFrom('alert_rules')
      .selectAll()
      .where('id', '=', id)
      .where('deleted_at_ms', 'is', null)
      .executeTakeFirst()
    return row === undefined ? null : toRule(row)
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(request: PageRequest & AlertRuleFilter): Promise<Page<AlertRule>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { enabled, severity, siteId, deviceType, deviceId } = request
    const seen = seenFrom(this.database.dialect, request.sites)
    let query = this.database.kysely
      .selectFrom('alert_rules')
      .selectAll()
      .where('deleted_at_ms', 'is', null)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, RULE_ID_PATTERN))
    if (enabled !== undefined) query = query.where('enabled', '=', enabled ? 1 : 0)
    if (severity !== undefined) query = query.where('severity', '=', severity)
    if (siteId !== undefined) query = query.where('site_id', '=', siteId)
    if (deviceType !== undefined) query = query.where('device_type', '=', deviceType)
    if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
    if (seen !== null) query = query.where(seen)
    return toPage(await query.execute(), limit, newestFirstKey, toRule)
  }

  /** Rules there are, whether enabled or not. */
  async count(transaction: Transaction<Database>): Promise<number> {
    const row = await transaction
      .selectFrom('alert_rules')
      .select(({ fn }) => fn.countAll<number | string>().as('rules'))
      .where('deleted_at_ms', 'is', null)
      .executeTakeFirst()
    return Number(row?.rules ?? 0)
  }

  /** Differs whenever a rule was added, changed or deleted, whatever the clocks of the cores say. */
  async signature(): Promise<string> {
    const { rows } = await sql<{ rules: number | string; versions: number | string | null }>`
      select count(*) as rules, sum(version) as versions from alert_rules`.execute(this.database.kysely)
    return `${rows[0]?.rules}/${rows[0]?.versions}`
  }

  async enabled(): Promise<AlertRule[]> {
    const rows = await this.database.kysely
      .selectFrom('alert_rules')
      .selectAll()
      .where('enabled', '=', 1)
      .where('deleted_at_ms', 'is', null)
      .orderBy('id')
      .execute()
    return rows.map(toRule)
  }

  /** The rule, which nobody else changes or judges by until the transaction ends. */
  async lock(id: string, transaction: Transaction<Database>): Promise<AlertRule | null> {
    const query = transaction
      .selectFrom('alert_rules')
      .selectAll()
      .where('id', '=', id)
      .where('deleted_at_ms', 'is', null)
    const row = await (this.database.dialect === 'postgres' ? query.forUpdate() : query).executeTakeFirst()
    return row === undefined ? null : toRule(row)
  }

  /** Versions of those of the rules that are enabled; they stay so until the transaction ends. */
  async holdVersions(ids: readonly string[], transaction: Transaction<Database>): Promise<Map<string, number>> {
    const { dialect } = this.database
    const { rows } = await sql<{ id: string; version: number }>`
      select id, version from alert_rules
      where id in ${givenTexts(dialect, ids)} and enabled = 1 and deleted_at_ms is null
      order by id ${sql.raw(dialect === 'postgres' ? 'for share' : '')}`.execute(transaction)
    return new Map(rows.map(({ id, version }) => [id, version]))
  }

  async update(rule: AlertRule, transaction: Transaction<Database>): Promise<void> {
    await transaction.updateTable('alert_rules').set(toRow(rule)).where('id', '=', rule.id).execute()
  }

  /** It stays as a row, by which other cores notice. */
  async remove(rule: AlertRule, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .updateTable('alert_rules')
      .set({ enabled: 0, version: rule.version + 1, deleted_at_ms: nowMs, updated_at_ms: nowMs })
      .where('id', '=', rule.id)
      .execute()
  }
}

function seenFrom(dialect: Dialect, sites: SiteScope | undefined): RawBuilder<boolean> | null {
  const own = siteCondition(dialect, 'alert_rules.site_id', sites)
  const ofDevice = siteCondition(dialect, 'devices.site_id', sites)
  if (own === null || ofDevice === null) return null
  return sql<boolean>`(${own}
    or exists (select 1 from devices where devices.id = alert_rules.device_id and ${ofDevice})
    or (alert_rules.site_id is null and alert_rules.device_id is null))`
}

function toRow(rule: AlertRule) {
  const { name, enabled, severity, scope, condition, recipients, escalation, version, updatedAtMs } = rule
  return {
    name,
    enabled: enabled ? 1 : 0,
    severity,
    site_id: scope.siteId,
    device_type: scope.deviceType,
    device_id: scope.deviceId,
    condition: JSON.stringify(condition),
    recipients: JSON.stringify({ ...recipients, escalation } satisfies Told),
    version,
    updated_at_ms: updatedAtMs,
  }
}

function toRule(row: Selectable<AlertRulesTable>): AlertRule {
  const { escalation, userIds, subscribers } = JSON.parse(row.recipients) as Told
  return {
    id: row.id,
    name: row.name,
    enabled: row.enabled === 1,
    severity: row.severity as Severity,
    scope: { siteId: row.site_id, deviceType: row.device_type, deviceId: row.device_id },
    condition: JSON.parse(row.condition) as Condition,
    recipients: { userIds, subscribers },
    escalation,
    version: row.version,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
  }
}
