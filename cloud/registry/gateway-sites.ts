/**
 * The sites that a gateway may speak for. They are given by people, never by what the gateway says; a gateway that comes
 * without a certificate, which only one on the same machine can, speaks for any.
 */

import type { Kysely, Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { InvalidRegistrationError, NotRegisteredError } from './errors.ts'
import { invalidGatewayId, invalidSiteId } from './text-fields.ts'

/** Sites of one gateway. */
export const GATEWAY_SITES_MAX = 1_000

export class GatewaySites {
  private readonly database: DatabaseHandle
  private readonly clock: Clock

  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock }) {
    this.database = options.database
    this.clock = options.clock
  }

  /** Those it was given, ascending; none for a gateway that was given none, or that does not exist. */
  async given(gatewayId: string, kysely: Kysely<Database> = this.database.kysely): Promise<number[]> {
    const rows = await kysely
      .selectFrom('gateway_sites')
      .select('site_id')
      .where('gateway_id', '=', gatewayId)
      .orderBy('site_id')
      .execute()
    return rows.map((row) => row.site_id)
  }

  /**
   * Where it belongs, for whoever asks who may see it: the sites it was given, or else those of its devices. Null when there
   * is no such gateway.
   */
  async of(gatewayId: string): Promise<number[] | null> {
    const { kysely } = this.database
    const gateway = await kysely.selectFrom('gateways').select('id').where('id', '=', gatewayId).executeTakeFirst()
    if (gateway === undefined) return null
    const given = await this.given(gatewayId)
    if (given.length > 0) return given
    const rows = await kysely
      .selectFrom('devices')
      .select('site_id')
      .distinct()
      .where('gateway_id', '=', gatewayId)
      .orderBy('site_id')
      .execute()
    return rows.map((row) => row.site_id)
  }

  /**
   * Of those that change what one gateway may, on whatever core, the second waits here until the first's transaction has ended.
   * @returns false when there is no such gateway.
   */
  async hold(gatewayId: string, transaction: Transaction<Database>): Promise<boolean> {
    const held = await transaction
      .updateTable('gateways')
      .set({ updated_at_ms: this.clock.wallMs() })
      .where('id', '=', gatewayId)
      .executeTakeFirst()
    return held.numUpdatedRows > 0n
  }

  /** Registers a gateway that is new, in the caller's transaction. @throws InvalidRegistrationError */
  async register(gatewayId: string, transaction: Transaction<Database>): Promise<void> {
    const invalid = invalidGatewayId(gatewayId)
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const nowMs = this.clock.wallMs()
    await transaction
      .insertInto('gateways')
      .values({ id: gatewayId, connected: 0, created_at_ms: nowMs, updated_at_ms: nowMs })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  /**
   * Gives it these sites and takes all others, in the caller's transaction; sites that are new are registered, as they are
   * when their first device is. Devices of a site that it loses wait for the gateway that they are behind now.
   * @throws InvalidRegistrationError, NotRegisteredError
   */
  async give(gatewayId: string, siteIds: readonly number[], transaction: Transaction<Database>): Promise<number[]> {
    // One order for all cores: two that wait for each other's rows would wait for ever.
    const given = [...new Set(siteIds)].sort((a, b) => a - b)
    const invalid = given.flatMap(invalidSiteId)
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const nowMs = this.clock.wallMs()
    if (!(await this.hold(gatewayId, transaction))) throw new NotRegisteredError('gateway', `gateway ${gatewayId}`)
    await transaction.deleteFrom('gateway_sites').where('gateway_id', '=', gatewayId).execute()
    if (given.length > 0) {
      await transaction
        .insertInto('sites')
        .values(given.map((id) => ({ id, name: `Site ${id}`, created_at_ms: nowMs, updated_at_ms: nowMs })))
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      await transaction
        .insertInto('gateway_sites')
        .values(given.map((siteId) => ({ gateway_id: gatewayId, site_id: siteId })))
        .execute()
    }
    await transaction
      .updateTable('devices')
      .set({ gateway_id: null, updated_at_ms: nowMs })
      .where('gateway_id', '=', gatewayId)
      .$if(given.length > 0, (query) => query.where('site_id', 'not in', given))
      .execute()
    return given
  }
}
