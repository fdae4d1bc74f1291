/** The authority that Busbar made for itself: its certificate, and its key under seal. */

import type { DatabaseHandle } from '../database/database.ts'

export interface StoredAuthority {
  readonly certificatePem: string
  readonly sealedKey: string
}

/** There is one; a second would not be known by gateways that enrolled under the first. */
const ID = 'gateways'

export class AuthorityStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  async find(): Promise<StoredAuthority | null> {
    const row = await this.database.kysely
      .selectFrom('certificate_authorities')
      .select(['certificate_pem', 'sealed_key'])
      .where('id', '=', ID)
      .executeTakeFirst()
    return row === undefined ? null : { certificatePem: row.certificate_pem, sealedKey: row.sealed_key }
  }

  /** Resolves with the one that is there, which is another core's when that was first. */
  async insert(authority: StoredAuthority, nowMs: number): Promise<StoredAuthority> {
    await this.database.kysely
      .insertInto('certificate_authorities')
      .values({
        id: ID,
        certificate_pem: authority.certificatePem,
        sealed_key: authority.sealedKey,
        created_at_ms: Math.round(nowMs),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    return (await this.find()) ?? authority
  }

  /** Another core may have done so meanwhile, and then stays right. */
  async replaceKey(before: string, after: string): Promise<void> {
    await this.database.kysely
      .updateTable('certificate_authorities')
      .set({ sealed_key: after })
      .where('id', '=', ID)
      .where('sealed_key', '=', before)
      .execute()
  }
}
