/** Alert rules: made, changed and deleted over the API. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Notifier } from '../notifications/notifications.ts'
import { type InvalidField, InvalidRegistrationError } from '../registry/errors.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { Registry } from '../registry/registry.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import { withdrawnNotice } from './alert-notices.ts'
import type { AlertRule, RuleScope } from './alert-rule.ts'
import { type AlertRuleFilter, AlertRuleStore } from './alert-rule-store.ts'
import { AlertStateStore } from './alert-state-store.ts'
import { AlertStore } from './alert-store.ts'
import type { CloseReason } from './alert-view.ts'
import { changedTerms, invalidTerms, judgesAlike, type NewAlertRule, termsOf } from './new-alert-rule.ts'

export interface AlertRulesOptions {
  readonly database: DatabaseHandle
  readonly registry: {
    readonly sites: Pick<Registry['sites'], 'get'>
    readonly devices: Pick<Registry['devices'], 'get'>
  }
  readonly notifier: Notifier
  /** Rules there may be. */
  readonly rulesMax: number
  readonly clock: Clock
  readonly random: Random
}

export type { AlertRuleFilter }

/** There are as many as there may be, code ALERT_RULES_LIMIT. */
export class AlertRulesLimitError extends BusbarError {
  constructor(rulesMax: number) {
    super(`there are ${rulesMax} alert rules, as many as there may be`, {
      code: 'ALERT_RULES_LIMIT',
      hint: 'delete rules, let one rule be about a site or a type, or raise alerts.rulesMax',
    })
    this.name = 'AlertRulesLimitError'
  }
}

/** Runs in the transaction that stores a rule; may run again, so it has no effect outside. */
export type WithAlertRule = (rule: AlertRule, transaction: Transaction<Database>) => Promise<void>

export class AlertRules {
  private readonly options: AlertRulesOptions
  private readonly store: AlertRuleStore
  private readonly states: AlertStateStore
  private readonly alerts: AlertStore
  private readonly listeners: (() => Promise<void>)[] = []

  constructor(options: AlertRulesOptions) {
    this.options = options
    this.store = new AlertRuleStore(options.database)
    this.states = new AlertStateStore(options.database)
    this.alerts = new AlertStore(options.database)
  }

  /** `listener` is called, and waited for, when a change made here is durable; it never rejects. */
  onChanged(listener: () => Promise<void>): void {
    this.listeners.push(listener)
  }

  /** Null when there is none, or none any more. */
  get(id: string): Promise<AlertRule | null> {
    return this.store.get(id)
  }

  /** The sites that a rule is about whose scope names some; none when its device is not there. */
  async sitesOf({ siteId, deviceId }: RuleScope): Promise<number[]> {
    const device = deviceId === null ? null : await this.options.registry.devices.get(deviceId)
    return [...(siteId === null ? [] : [siteId]), ...(device === null ? [] : [device.siteId])]
  }

  /** What the rule would be about after these changes. */
  scopeAfter(rule: AlertRule, changes: Partial<NewAlertRule>): RuleScope {
    return changedTerms(rule, changes).scope
  }

  /** The newest first. */
  list(request: PageRequest & AlertRuleFilter = {}): Promise<Page<AlertRule>> {
    return this.store.list(request)
  }

  /**
   * @param also joins in the transaction.
   * @param sees what is elsewhere does not exist for whoever asks.
   * @throws InvalidRegistrationError, AlertRulesLimitError; BusbarError DATABASE_UNAVAILABLE
   */
  async create(asked: NewAlertRule, also?: WithAlertRule, sees: SiteScope = 'all'): Promise<AlertRule> {
    const { database, clock, random, rulesMax } = this.options
    const terms = termsOf(asked)
    await this.check(invalidTerms(terms), terms.scope, sees)
    const nowMs = clock.wallMs()
    const id = `rule-${randomHex(random, 8)}`
    const rule: AlertRule = { id, ...terms, version: 1, createdAtMs: nowMs, updatedAtMs: nowMs }
    await database.transaction(async (transaction) => {
      if ((await this.store.count(transaction)) >= rulesMax) throw new AlertRulesLimitError(rulesMax)
      await this.store.insert(rule, transaction)
      await also?.(rule, transaction)
    })
    await this.tell()
    return rule
  }

  /**
   * Members that are absent stay. When it judges differently from now on, its open alerts close and every device begins anew;
   * another name, other recipients or another escalation are for the alerts that open from now on.
   * Null when there is no such rule.
   * @param sees as of `create`.
   * @throws InvalidRegistrationError; BusbarError DATABASE_UNAVAILABLE
   */
  async update(id: string, changes: Partial<NewAlertRule>, sees: SiteScope = 'all'): Promise<AlertRule | null> {
    const { database, clock } = this.options
    const nowMs = clock.wallMs()
    const before = await this.store.get(id)
    if (before === null) return null
    const asked = changedTerms(before, changes)
    await this.check(invalidTerms(asked), asked.scope, sees)
    const after = await database.transaction(async (transaction) => {
      const rule = await this.store.lock(id, transaction)
      if (rule === null) return null
      const terms = changedTerms(rule, changes)
      // Somebody else may have changed it meanwhile, so that the two changes do not go together.
      const invalid = invalidTerms(terms)
      if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
      const changed: AlertRule = { ...rule, ...terms, version: rule.version + 1, updatedAtMs: nowMs }
      await this.store.update(changed, transaction)
      if (judgesAlike(rule, terms)) await this.states.keepUnder(id, changed.version, transaction)
      else await this.withdraw(id, terms.enabled ? 'RULE_CHANGED' : 'RULE_DISABLED', nowMs, transaction)
      return changed
    })
    await this.tell()
    return after
  }

  /** False when there is no such rule. @throws BusbarError DATABASE_UNAVAILABLE */
  async delete(id: string): Promise<boolean> {
    const { database, clock } = this.options
    const nowMs = clock.wallMs()
    const deleted = await database.transaction(async (transaction) => {
      const rule = await this.store.lock(id, transaction)
      if (rule === null) return false
      await this.store.remove(rule, nowMs, transaction)
      await this.withdraw(id, 'RULE_DELETED', nowMs, transaction)
      return true
    })
    await this.tell()
    return deleted
  }

  private async withdraw(
    id: string,
    reason: CloseReason,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await this.states.forgetRule(id, transaction)
    const closed = await this.alerts.closeOfRule(id, reason, nowMs, transaction)
    if (closed.length > 0) await this.options.notifier.notify([withdrawnNotice(closed, reason, nowMs)], transaction)
  }

  private async check(invalid: InvalidField[], { siteId, deviceId }: RuleScope, sees: SiteScope): Promise<void> {
    const { registry } = this.options
    if (siteId !== null && (!includesSite(sees, siteId) || (await registry.sites.get(siteId)) === null)) {
      invalid.push({ field: 'siteId', value: siteId, remedy: 'a registered site' })
    }
    const device = deviceId === null ? null : await registry.devices.get(deviceId)
    if (deviceId !== null && (device === null || !includesSite(sees, device.siteId))) {
      invalid.push({ field: 'deviceId', value: deviceId, remedy: 'a registered device' })
    }
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
  }

  private async tell(): Promise<void> {
    this.options.notifier.nudge()
    for (const listener of this.listeners) await listener()
  }
}
