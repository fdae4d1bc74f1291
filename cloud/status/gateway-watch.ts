/**
 * Gateways that are offline for too long: one outage each, and one notice for all the devices behind it. Only time counts in
 * which a core watched: while all cores were down nobody could hear a gateway, and after that each has to find its way back.
 */

import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Notice, Notifier } from '../notifications/notifications.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import { outageNotice, recoveryNotice } from './outage-notice.ts'
import { type GatewayOutage, type OutageGateway, OutageStore } from './outage-store.ts'

export interface GatewayWatchOptions {
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly coreId: string
  /** How long a gateway may be offline without notice, milliseconds. */
  readonly gatewayOfflineAfterMs: number
  /** How often gateways are looked at, milliseconds. */
  readonly checkPeriodMs: number
  /** As the registry has it: a gateway that was not heard of for longer counts as not connected. Default 60,000. */
  readonly gatewaySilentAfterMs?: number
  /**
   * Nothing is noticed before a core has watched for so long, or for `gatewayOfflineAfterMs` if that is longer. Default
   * 30,000: two of the longest waits of a gateway before it dials again.
   */
  readonly startGraceMs?: number
  /** An outage has ended when the gateway has been connected for so long: by then it has told its backlog. Default 10,000. */
  readonly settleMs?: number
  /** How long outages that ended are kept, days. */
  readonly historyDays: number
  readonly clock: Clock
  readonly log: Logger
}

/** Since this core started, but for `gatewaysOffline`. */
export interface GatewayWatchStats {
  /** Gateways with an outage that lasts, of all cores; 0 on the cores that do not have the duty. */
  readonly gatewaysOffline: number
  readonly outagesBegun: number
  readonly outagesEnded: number
}

/** Gateways of one transaction; the others follow at once. */
const GATEWAYS_AT_ONCE = 100
/** Outages removed by one statement, and how often it is looked for old ones. */
const PURGED_AT_ONCE = 500
const PURGE_PERIOD_MS = 3_600_000

export class GatewayWatch implements Part {
  readonly name = 'gateway-watch'
  private readonly options: GatewayWatchOptions
  private readonly store: OutageStore
  private readonly duty: Duty
  private purgeDueAtMs = Number.NEGATIVE_INFINITY
  private gatewaysOffline = 0
  private outagesBegun = 0
  private outagesEnded = 0

  constructor(options: GatewayWatchOptions) {
    const { database, coreId, checkPeriodMs: periodMs, clock, log } = options
    this.options = options
    this.store = new OutageStore(database)
    const work = (signal: AbortSignal, heldMs: number) => this.look(signal, heldMs)
    this.duty = new Duty({ name: this.name, database, coreId, periodMs, work, clock, log })
  }

  async start(): Promise<void> {
    await this.duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.duty.stop(deadline)
    this.gatewaysOffline = 0
  }

  /** Outages of a gateway, the newest first. @throws InvalidRegistrationError for limit and cursor. */
  outages(gatewayId: string, request: PageRequest = {}): Promise<Page<GatewayOutage>> {
    return this.store.list(gatewayId, request)
  }

  /**
   * One round, as the duty calls it.
   * @param heldMs for how long a core has watched without a break, milliseconds.
   */
  async look(signal: AbortSignal, heldMs: number): Promise<void> {
    const {
      gatewayOfflineAfterMs,
      gatewaySilentAfterMs = 60_000,
      startGraceMs = 30_000,
      settleMs = 10_000,
    } = this.options
    const nowMs = Math.round(this.options.clock.wallMs())
    const silentSinceMs = nowMs - gatewaySilentAfterMs
    const common = { nowMs, silentSinceMs, limit: GATEWAYS_AT_ONCE }
    while (!signal.aborted) {
      const ended = await this.change('end', { ...common, connectedSinceMs: nowMs - settleMs })
      this.outagesEnded += ended
      if (ended < GATEWAYS_AT_ONCE) break
    }
    while (!signal.aborted && heldMs >= Math.max(gatewayOfflineAfterMs, startGraceMs)) {
      const begun = await this.change('begin', { ...common, unheardSinceMs: nowMs - gatewayOfflineAfterMs })
      this.outagesBegun += begun
      if (begun < GATEWAYS_AT_ONCE) break
    }
    this.gatewaysOffline = await this.store.countOpen()
    await this.purge(nowMs)
  }

  stats(): GatewayWatchStats {
    const { gatewaysOffline, outagesBegun, outagesEnded } = this
    return { gatewaysOffline, outagesBegun, outagesEnded }
  }

  /** Stores outages and what is told of them, all or nothing; resolves with how many. */
  private async change<K extends 'begin' | 'end'>(kind: K, criteria: Parameters<OutageStore[K]>[0]): Promise<number> {
    const { database, notifier, log } = this.options
    const outages = await database.transaction(async (transaction) => {
      const changed: OutageGateway[] = await this.store[kind](criteria as never, transaction)
      if (changed.length > 0) await notifier.notify(changed.map(noticeOf), transaction)
      return changed
    })
    if (outages.length === 0) return 0
    notifier.nudge()
    for (const { gatewayId, sinceMs, endedAtMs, devices } of outages) {
      const since = new Date(sinceMs).toISOString()
      if (endedAtMs === null) log.warn({ gatewayId, since, devices }, 'gateway is offline')
      else log.info({ gatewayId, since, lastedMs: endedAtMs - sinceMs }, 'gateway is back')
    }
    return outages.length
  }

  private async purge(nowMs: number): Promise<void> {
    const { clock, historyDays } = this.options
    if (clock.monotonicMs() < this.purgeDueAtMs) return
    const removed = await this.store.purge(nowMs - historyDays * DAY_MS, PURGED_AT_ONCE)
    if (removed < PURGED_AT_ONCE) this.purgeDueAtMs = clock.monotonicMs() + PURGE_PERIOD_MS
  }
}

function noticeOf(outage: OutageGateway): Notice {
  return outage.endedAtMs === null ? outageNotice(outage) : recoveryNotice(outage, outage.endedAtMs)
}
