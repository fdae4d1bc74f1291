/** The certificates of gateways: who got which, and which are revoked. */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { GatewayCertificatesTable } from '../database/schema-identity.ts'

export type IssuedFor = 'enrolment' | 'renewal' | 'recovery' | 'elsewhere'

export interface StoredCertificate {
  readonly fingerprint: string
  readonly serial: string
  readonly gatewayId: string
  readonly keyHash: string
  readonly pem: string
  readonly issuedFor: IssuedFor
  /** When it was signed, or first seen when that was elsewhere. */
  readonly issuedAtMs: number
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly revokedAtMs: number | null
  readonly revokedReason: string | null
  readonly revokedBy: string | null
}

export type NewCertificate = Omit<StoredCertificate, 'revokedAtMs' | 'revokedReason' | 'revokedBy'>

/** What a stream that goes on is asked about. */
export interface Standing {
  readonly revoked: boolean
  readonly sites: ReadonlySet<number>
}

/** Certificates given back by one call, and looked at by one statement. */
const LISTED_MAX = 1_000

export class CertificateStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** The newest first, at most 1,000. */
  async list(gatewayId: string): Promise<StoredCertificate[]> {
    const rows = await this.rows()
      .where('gateway_id', '=', gatewayId)
      .orderBy('issued_at_ms', 'desc')
      .orderBy('fingerprint')
      .limit(LISTED_MAX)
      .execute()
    return rows.map(toStored)
  }

  async find(fingerprint: string, kysely?: Kysely<Database>): Promise<StoredCertificate | null> {
    const row = await this.rows(kysely).where('fingerprint', '=', fingerprint).executeTakeFirst()
    return row === undefined ? null : toStored(row)
  }

  /** All certificates for a public key, the newest first. */
  async ofKey(keyHash: string, kysely: Kysely<Database> = this.database.kysely): Promise<StoredCertificate[]> {
    const rows = await this.rows(kysely)
      .where('key_hash', '=', keyHash)
      .orderBy('issued_at_ms', 'desc')
      .orderBy('fingerprint')
      .limit(LISTED_MAX)
      .execute()
    return rows.map(toStored)
  }

  /** When the gateway was last given a certificate over the uplink or for an expired one; null when it never was. */
  async lastRenewalMs(gatewayId: string, transaction: Transaction<Database>): Promise<number | null> {
    const row = await transaction
      .selectFrom('gateway_certificates')
      .select((e) => e.fn.max('issued_at_ms').as('at'))
      .where('gateway_id', '=', gatewayId)
      .where('issued_for', 'in', ['renewal', 'recovery'])
      .executeTakeFirst()
    // The aggregate of an empty set is null, whatever the column says.
    return (row?.at as number | null | undefined) ?? null
  }

  /** One that is there already stays as it is. */
  async insert(certificate: NewCertificate, kysely: Kysely<Database> = this.database.kysely): Promise<void> {
    await kysely
      .insertInto('gateway_certificates')
      .values({
        fingerprint: certificate.fingerprint,
        serial: certificate.serial,
        gateway_id: certificate.gatewayId,
        key_hash: certificate.keyHash,
        certificate_pem: certificate.pem,
        issued_for: certificate.issuedFor,
        issued_at_ms: Math.round(certificate.issuedAtMs),
        not_before_ms: certificate.notBeforeMs,
        not_after_ms: certificate.notAfterMs,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  /**
   * Revokes those of the gateway that are not; a revocation stands for ever. Resolves with how many there are of that serial,
   * revoked before or now.
   * @param serial or fingerprint; null for all of the gateway.
   */
  async revoke(
    gatewayId: string,
    serial: string | null,
    revocation: { readonly atMs: number; readonly reason: string; readonly by: string },
    transaction: Transaction<Database>,
  ): Promise<number> {
    const { atMs, reason, by } = revocation
    const fingerprints = await transaction
      .selectFrom('gateway_certificates')
      .select('fingerprint')
      .where('gateway_id', '=', gatewayId)
      .$if(serial !== null, (query) =>
        query.where((e) => e.or([e('serial', '=', serial as string), e('fingerprint', '=', serial as string)])),
      )
      .orderBy('fingerprint')
      .execute()
    const ids = fingerprints.map(({ fingerprint }) => fingerprint)
    await transaction
      .updateTable('gateway_certificates')
      .set({ revoked_at_ms: Math.round(atMs), revoked_reason: reason, revoked_by: by })
      .where(sql<boolean>`fingerprint in ${givenTexts(this.database.dialect, ids)}`)
      .where('revoked_at_ms', 'is', null)
      .execute()
    return ids.length
  }

  /** How these stand now, with the sites of their gateways, in one statement; those that are not there are left out. */
  async standings(fingerprints: readonly string[]): Promise<Map<string, Standing>> {
    const { kysely, dialect } = this.database
    const rows = await kysely
      .selectFrom('gateway_certificates as certificate')
      .leftJoin('gateway_sites as given', 'given.gateway_id', 'certificate.gateway_id')
      .select(['certificate.fingerprint', 'certificate.revoked_at_ms', 'given.site_id'])
      .where(sql<boolean>`certificate.fingerprint in ${givenTexts(dialect, fingerprints)}`)
      .execute()
    const standings = new Map<string, { readonly revoked: boolean; readonly sites: Set<number> }>()
    for (const { fingerprint, revoked_at_ms: revokedAtMs, site_id: siteId } of rows) {
      const standing = standings.get(fingerprint) ?? { revoked: revokedAtMs !== null, sites: new Set<number>() }
      if (siteId !== null) standing.sites.add(siteId)
      standings.set(fingerprint, standing)
    }
    return standings
  }

  private rows(kysely: Kysely<Database> = this.database.kysely) {
    return kysely.selectFrom('gateway_certificates').selectAll()
  }
}

function toStored(row: Selectable<GatewayCertificatesTable>): StoredCertificate {
  return {
    fingerprint: row.fingerprint,
    serial: row.serial,
    gatewayId: row.gateway_id,
    keyHash: row.key_hash,
    pem: row.certificate_pem,
    issuedFor: row.issued_for as IssuedFor,
    issuedAtMs: row.issued_at_ms,
    notBeforeMs: row.not_before_ms,
    notAfterMs: row.not_after_ms,
    revokedAtMs: row.revoked_at_ms,
    revokedReason: row.revoked_reason,
    revokedBy: row.revoked_by,
  }
}
