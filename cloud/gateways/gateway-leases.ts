/**
 * Leases: a gateway's uplink session lives on one core at a time, and the table says on which. Whoever has it is known by
 * the session's id, never by a clock; time only tells when nobody has it, because its core died.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'

export interface GatewayLeasesOptions {
  readonly database: DatabaseHandle
  /** Names this run of this core. */
  readonly coreId: string
  /** How long a core that died still counts as the one that has its gateways, milliseconds. */
  readonly leaseMs: number
  readonly clock: Clock
  readonly log: Logger
  /** Another session has the gateway now; ours must end. */
  readonly onLost: (gatewayId: string, sessionId: string) => void
}

/** Rounds of renewal in one lease, so that a failed one costs nothing. */
const RENEWALS_A_LEASE = 3
/** Gateways in one statement. */
const ROWS_PER_STATEMENT = 500

export class GatewayLeases {
  private readonly options: GatewayLeasesOptions
  /** Gateway → its session on this core; there before the database is asked, so that no renewal takes it for a stray. */
  private readonly held = new Map<string, string>()
  private timer: Timer | null = null
  private renewing: Promise<void> | null = null
  private readonly complaints: ComplaintLimit

  constructor(options: GatewayLeasesOptions) {
    this.complaints = new ComplaintLimit(options.clock)
    this.options = options
  }

  start(): void {
    const { clock, leaseMs } = this.options
    this.timer ??= clock.every(leaseMs / RENEWALS_A_LEASE, () => void this.renew())
  }

  /** Gives all of them back; what the database does not take lapses by itself. */
  async stop(): Promise<void> {
    const { database, coreId } = this.options
    this.timer?.cancel()
    this.timer = null
    await this.renewing
    if (this.held.size === 0) return
    this.held.clear()
    try {
      await database.kysely.deleteFrom('gateway_leases').where('core_id', '=', coreId).execute()
    } catch (error) {
      this.complain(error, 'leases of gateways are not given back; they lapse by themselves')
    }
  }

  /** The newest session wins, whoever had the gateway before. Rejects when the database cannot be written. */
  async take(gatewayId: string, sessionId: string): Promise<void> {
    const before = this.held.get(gatewayId)
    this.held.set(gatewayId, sessionId)
    const lease = { core_id: this.options.coreId, session_id: sessionId, until_ms: this.untilMs() }
    try {
      await this.options.database.kysely
        .insertInto('gateway_leases')
        .values({ gateway_id: gatewayId, ...lease })
        .onConflict((conflict) => conflict.column('gateway_id').doUpdateSet(lease))
        .execute()
    } catch (error) {
      if (this.held.get(gatewayId) === sessionId) {
        if (before === undefined) this.held.delete(gatewayId)
        else this.held.set(gatewayId, before)
      }
      throw error
    }
  }

  /** Only if it is still this session's. Rejects when the database cannot be written; a renewal then clears it away. */
  async giveBack(gatewayId: string, sessionId: string): Promise<void> {
    if (this.held.get(gatewayId) === sessionId) this.held.delete(gatewayId)
    await this.release(gatewayId, sessionId)
  }

  /** The core that has the gateway, or null when none has or its lease ran out. */
  async coreOf(gatewayId: string): Promise<string | null> {
    const { database, clock } = this.options
    const row = await database.kysely
      .selectFrom('gateway_leases')
      .select('core_id')
      .where('gateway_id', '=', gatewayId)
      .where('until_ms', '>', Math.round(clock.wallMs()))
      .executeTakeFirst()
    return row?.core_id ?? null
  }

  /**
   * Renews all at once and lets go of what others have. Never rejects: while the database is away nobody can take a
   * gateway either, so no session ends for it.
   */
  renew(): Promise<void> {
    this.renewing ??= this.renewHeld()
      .catch((error) => this.complain(error, 'leases of gateways are not renewed; trying again'))
      .finally(() => {
        this.renewing = null
      })
    return this.renewing
  }

  private async renewHeld(): Promise<void> {
    const { database, coreId } = this.options
    const judged = new Map(this.held)
    const renewed = await database.kysely
      .updateTable('gateway_leases')
      .set({ until_ms: this.untilMs() })
      .where('core_id', '=', coreId)
      .returning(['gateway_id', 'session_id'])
      .execute()
    for (const { gateway_id: gatewayId, session_id: sessionId } of renewed) {
      if (judged.get(gatewayId) === sessionId) judged.delete(gatewayId)
      // Left while the database could not be told.
      else if (this.held.get(gatewayId) !== sessionId) await this.release(gatewayId, sessionId)
    }
    await this.examine([...judged].filter(([gatewayId, sessionId]) => this.held.get(gatewayId) === sessionId))
  }

  /** Sessions that the renewal did not find: lost to another one, or the row is gone, which makes nobody its owner. */
  private async examine(missing: readonly (readonly [gatewayId: string, sessionId: string])[]): Promise<void> {
    const { kysely } = this.options.database
    for (let start = 0; start < missing.length; start += ROWS_PER_STATEMENT) {
      const group = missing.slice(start, start + ROWS_PER_STATEMENT)
      await kysely
        .insertInto('gateway_leases')
        .values(
          group.map(([gatewayId, sessionId]) => ({
            gateway_id: gatewayId,
            core_id: this.options.coreId,
            session_id: sessionId,
            until_ms: this.untilMs(),
          })),
        )
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      const rows = await kysely
        .selectFrom('gateway_leases')
        .select(['gateway_id', 'session_id'])
        .where(
          'gateway_id',
          'in',
          group.map(([gatewayId]) => gatewayId),
        )
        .execute()
      const owners = new Map(rows.map((row) => [row.gateway_id, row.session_id]))
      for (const [gatewayId, sessionId] of group) {
        const owner = owners.get(gatewayId)
        if (owner === undefined || owner === sessionId || this.held.get(gatewayId) !== sessionId) continue
        this.held.delete(gatewayId)
        this.options.onLost(gatewayId, sessionId)
      }
    }
  }

  private async release(gatewayId: string, sessionId: string): Promise<void> {
    await this.options.database.kysely
      .deleteFrom('gateway_leases')
      .where('gateway_id', '=', gatewayId)
      .where('session_id', '=', sessionId)
      .execute()
  }

  private untilMs(): number {
    return Math.round(this.options.clock.wallMs() + this.options.leaseMs)
  }

  private complain(error: unknown, message: string): void {
    if (!this.complaints.isDue()) return
    this.options.log.warn({ error: messageOf(error), gateways: this.held.size }, message)
  }
}
