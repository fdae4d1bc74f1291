/** Enrolment tokens as they are stored: the secret only as its hash. */

import { type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { EnrolmentTokensTable } from '../database/schema-identity.ts'

export interface EnrolmentToken {
  readonly id: string
  readonly gatewayId: string
  readonly createdBy: string
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly revokedAtMs: number | null
  readonly redeemedAtMs: number | null
  /** Address of whoever redeemed it. */
  readonly redeemedFrom: string | null
}

export interface StoredToken extends EnrolmentToken {
  readonly secretHash: string
  /** SHA-256 of the public key that redeemed it. */
  readonly redeemedKey: string | null
}

export interface Redemption {
  readonly atMs: number
  readonly from: string
  readonly keyHash: string
}

/** Tokens given back by one call. */
const LISTED_MAX = 1_000

export class TokenStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Of a gateway, the newest first, at most 1,000. */
  async list(gatewayId: string): Promise<EnrolmentToken[]> {
    const rows = await this.database.kysely
      .selectFrom('enrolment_tokens')
      .selectAll()
      .where('gateway_id', '=', gatewayId)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id')
      .limit(LISTED_MAX)
      .execute()
    return rows.map(toStored)
  }

  async find(id: string): Promise<StoredToken | null> {
    const row = await this.database.kysely
      .selectFrom('enrolment_tokens')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    return row === undefined ? null : toStored(row)
  }

  async insert(
    token: Pick<StoredToken, 'id' | 'secretHash' | 'gatewayId' | 'createdBy' | 'createdAtMs' | 'expiresAtMs'>,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await transaction
      .insertInto('enrolment_tokens')
      .values({
        id: token.id,
        secret_hash: token.secretHash,
        gateway_id: token.gatewayId,
        created_by: token.createdBy,
        created_at_ms: token.createdAtMs,
        expires_at_ms: token.expiresAtMs,
      })
      .execute()
  }

  /** Those of the gateway that could still be redeemed. */
  async countOpen(gatewayId: string, nowMs: number, transaction: Transaction<Database>): Promise<number> {
    const { rows } = await sql<{ open: number }>`
      select count(*) as open from enrolment_tokens
      where gateway_id = ${gatewayId} and revoked_at_ms is null and redeemed_at_ms is null
        and expires_at_ms > ${Math.round(nowMs)}`.execute(transaction)
    return Number(rows[0]?.open ?? 0)
  }

  /** Forgets those that ended long ago. */
  async deleteEndedBefore(ms: number, transaction: Transaction<Database>): Promise<void> {
    await transaction.deleteFrom('enrolment_tokens').where('expires_at_ms', '<', Math.round(ms)).execute()
  }

  /** Takes the token for this key; false when it is redeemed, revoked or expired by now. Of two at once one gets true. */
  async redeem(id: string, { atMs, from, keyHash }: Redemption, transaction: Transaction<Database>): Promise<boolean> {
    const { numUpdatedRows } = await transaction
      .updateTable('enrolment_tokens')
      .set({ redeemed_at_ms: atMs, redeemed_from: from, redeemed_key: keyHash })
      .where('id', '=', id)
      .where('redeemed_at_ms', 'is', null)
      .where('revoked_at_ms', 'is', null)
      .where('expires_at_ms', '>', atMs)
      .executeTakeFirst()
    return numUpdatedRows > 0n
  }

  /**
   * Takes back those that were not redeemed.
   * @param id null for all of the gateway.
   * @returns whether there is one of that id.
   */
  async revoke(
    gatewayId: string,
    id: string | null,
    atMs: number,
    transaction?: Transaction<Database>,
  ): Promise<boolean> {
    const kysely = transaction ?? this.database.kysely
    await kysely
      .updateTable('enrolment_tokens')
      .set({ revoked_at_ms: atMs })
      .where('gateway_id', '=', gatewayId)
      .$if(id !== null, (query) => query.where('id', '=', id as string))
      .where('revoked_at_ms', 'is', null)
      .where('redeemed_at_ms', 'is', null)
      .execute()
    if (id === null) return true
    const row = await kysely
      .selectFrom('enrolment_tokens')
      .select('id')
      .where('id', '=', id)
      .where('gateway_id', '=', gatewayId)
      .executeTakeFirst()
    return row !== undefined
  }
}

function toStored(row: Selectable<EnrolmentTokensTable>): StoredToken {
  return {
    id: row.id,
    secretHash: row.secret_hash,
    gatewayId: row.gateway_id,
    createdBy: row.created_by,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    revokedAtMs: row.revoked_at_ms,
    redeemedAtMs: row.redeemed_at_ms,
    redeemedFrom: row.redeemed_from,
    redeemedKey: row.redeemed_key,
  }
}
