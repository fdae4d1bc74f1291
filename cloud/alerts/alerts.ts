/** Alert rules and what they find: the public face of this folder. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import type { Notifier } from '../notifications/notifications.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import { escalatedNotices, withdrawnNotice } from './alert-notices.ts'
import { AlertStateStore } from './alert-state-store.ts'
import { AlertStore } from './alert-store.ts'
import type { AlertFilter, AlertView } from './alert-view.ts'

export { AlertEvaluation, type AlertEvaluationOptions } from './alert-evaluation.ts'
export * from './alert-rule.ts'
export { AlertRules, AlertRulesLimitError, type WithAlertRule } from './alert-rules.ts'
export * from './alert-view.ts'
export { COMPARISONS } from './condition.ts'
export { DURATION_SECONDS_MAX, ESCALATION_SECONDS_RANGE, type NewAlertRule, RECIPIENTS_MAX } from './new-alert-rule.ts'
export * from './rule-trial.ts'

export interface AlertsOptions {
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly coreId: string
  /** How long closed alerts are kept. */
  readonly keptDays: number
  /** How often it is looked for alerts to escalate. Default 5,000. */
  readonly escalationPeriodMs?: number
  /** How often it is looked for alerts that have no rule any more, and for old ones. Default 60,000. */
  readonly upkeepPeriodMs?: number
  readonly clock: Clock
  readonly log: Logger
}

/** An alert that closed before anybody acknowledged it, code ALERT_CLOSED. */
export class AlertClosedError extends BusbarError {
  constructor(id: string) {
    super(`alert ${id} is closed`, { code: 'ALERT_CLOSED', hint: 'only open alerts are acknowledged' })
    this.name = 'AlertClosedError'
  }
}

/** Runs in the transaction that stores a change; may run again, so it has no effect outside. */
export type WithAlert = (alert: AlertView, transaction: Transaction<Database>) => Promise<void>

/** Alerts escalated, or closed for want of a rule, in one transaction. */
const ALERTS_PER_ROUND = 100

export class Alerts implements Part {
  readonly name = 'alerts'
  private readonly options: AlertsOptions
  private readonly store: AlertStore
  private readonly states: AlertStateStore
  private readonly duties: readonly Duty[]
  private escalated = 0
  private purged = 0

  constructor(options: AlertsOptions) {
    const { database, coreId, clock, log, escalationPeriodMs = 5_000, upkeepPeriodMs = 60_000 } = options
    this.options = options
    this.store = new AlertStore(database)
    this.states = new AlertStateStore(database)
    const common = { database, coreId, clock, log }
    this.duties = [
      new Duty({
        name: 'alert escalation',
        periodMs: escalationPeriodMs,
        work: (signal) => this.escalate(signal),
        ...common,
      }),
      new Duty({ name: 'alert upkeep', periodMs: upkeepPeriodMs, work: (signal) => this.tidy(signal), ...common }),
    ]
  }

  async start(): Promise<void> {
    for (const duty of this.duties) await duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await Promise.all(this.duties.map((duty) => duty.stop(deadline)))
  }

  /** Null when there is none, or none any more. */
  get(id: string): Promise<AlertView | null> {
    return this.store.get(id)
  }

  /** Those of them that there are, in no order. */
  some(ids: readonly string[], kysely = this.options.database.kysely): Promise<AlertView[]> {
    return this.store.some(ids, kysely)
  }

  /** The newest first; a walk through the pages meets each alert once, whatever comes meanwhile. */
  list(request: PageRequest & AlertFilter = {}): Promise<Page<AlertView>> {
    return this.store.list(request)
  }

  /**
   * Alerts whose latest change was stored at `sinceMs` or later, ascending by that time and id, `limit` at most; with
   * `afterId` those of `sinceMs` itself begin after it. A transaction may become visible some moments after the time it
   * stored, so who polls should look again at the last seconds.
   */
  changedSince(sinceMs: number, limit: number, afterId = ''): Promise<AlertView[]> {
    return this.store.changedSince(sinceMs, limit, afterId)
  }

  /**
   * Somebody has seen to it: it is not escalated any more. The first one counts; later ones change nothing. Null when there is
   * no such alert.
   * @param also joins in the transaction.
   * @throws AlertClosedError, unless it was acknowledged before it closed; BusbarError DATABASE_UNAVAILABLE
   */
  async acknowledge(
    id: string,
    by: { readonly userId: string; readonly note: string | null },
    also?: WithAlert,
  ): Promise<AlertView | null> {
    const { database, clock } = this.options
    // PostgreSQL takes no half of a character.
    const said = { userId: by.userId, note: by.note?.toWellFormed() ?? null }
    return await database.transaction(async (transaction) => {
      const changed = await this.store.acknowledge(id, said, clock.wallMs(), transaction)
      const alert = changed ?? (await this.store.get(id, transaction))
      if (alert === null) return null
      if (alert.acknowledgedAtMs === null) throw new AlertClosedError(id)
      await also?.(alert, transaction)
      return alert
    })
  }

  /** Totals since the start. */
  stats(): { readonly escalated: number; readonly purged: number } {
    return { escalated: this.escalated, purged: this.purged }
  }

  private async escalate(signal: AbortSignal): Promise<void> {
    const { database, notifier, clock } = this.options
    for (;;) {
      const nowMs = clock.wallMs()
      const count = await database.transaction(async (transaction) => {
        const alerts = await this.store.claimEscalations(nowMs, ALERTS_PER_ROUND, transaction)
        const notices = alerts.flatMap((alert) => escalatedNotices(alert, nowMs))
        if (notices.length > 0) await notifier.notify(notices, transaction)
        return alerts.length
      })
      this.escalated += count
      if (count > 0) notifier.nudge()
      if (count < ALERTS_PER_ROUND || signal.aborted) return
      await nextTurn()
    }
  }

  private async tidy(signal: AbortSignal): Promise<void> {
    await this.closeOutOfScope()
    const beforeMs = this.options.clock.wallMs() - this.options.keptDays * DAY_MS
    while (!signal.aborted) {
      const removed = await this.store.purge(beforeMs)
      this.purged += removed
      if (removed === 0) return
      await nextTurn()
    }
  }

  /** A device that got another type is not judged by the rules of the old one any more: their alerts would stay for ever. */
  private async closeOutOfScope(): Promise<void> {
    const { database, notifier, clock } = this.options
    const ids = await this.store.outOfScope(ALERTS_PER_ROUND)
    if (ids.length === 0) return
    const nowMs = clock.wallMs()
    await database.transaction(async (transaction) => {
      await this.states.forgetAlerts(ids, transaction)
      const closed = await this.store.close(ids, 'OUT_OF_SCOPE', nowMs, transaction)
      const notices = [...Map.groupBy(closed, ({ rule }) => `${rule.id}/${rule.version}`).values()].map((alerts) =>
        withdrawnNotice(alerts, 'OUT_OF_SCOPE', nowMs),
      )
      if (notices.length > 0) await notifier.notify(notices, transaction)
    })
    notifier.nudge()
  }
}
