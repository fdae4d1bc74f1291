/** API keys in the database. */

import { type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { ApiKeysTable, Database } from '../database/schema.ts'
import { newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { API_KEY_ID, type ApiKey } from './api-key.ts'
import type { Grant, Role } from './roles.ts'
import { UserStore } from './user-store.ts'

/** A key with what is needed to let somebody in by it. */
export interface StoredApiKey {
  readonly key: ApiKey
  readonly secretHash: string
  /** Whether who made it is a user that may still log in. */
  readonly makerActive: boolean
  readonly makerGrants: readonly Grant[]
}

/** Keys that `userId` made, or whose every grant is at one of `sites`. */
export interface ApiKeyView {
  readonly userId: string
  readonly sites: SiteScope
}

export class ApiKeyStore {
  private readonly database: DatabaseHandle
  private readonly users: UserStore

  constructor(database: DatabaseHandle) {
    this.database = database
    this.users = new UserStore(database)
  }

  async insert(key: ApiKey, secretHash: string, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .insertInto('api_keys')
      .values({
        id: key.id,
        name: key.name,
        secret_hash: secretHash,
        scopes: JSON.stringify(key.scopes),
        created_by: key.createdBy,
        created_at_ms: key.createdAtMs,
        expires_at_ms: key.expiresAtMs,
        last_used_at_ms: null,
        revoked_at_ms: null,
      })
      .execute()
    const grants = key.grants.map(({ role, siteId }) => {
      return { key_id: key.id, role, site_id: siteId === 'all' ? 0 : siteId }
    })
    await transaction.insertInto('api_key_grants').values(grants).execute()
  }

  /** Keys that are neither revoked nor expired, of everybody and of `userId`. */
  async countLiving(
    nowMs: number,
    userId: string,
    transaction: Transaction<Database>,
  ): Promise<{ readonly all: number; readonly own: number }> {
    const { all, own } = await transaction
      .selectFrom('api_keys')
      .select(({ fn }) => [
        fn.countAll<number | string>().as('all'),
        fn.countAll<number | string>().filterWhere('created_by', '=', userId).as('own'),
      ])
      .where('revoked_at_ms', 'is', null)
      .where(({ or, eb }) => or([eb('expires_at_ms', 'is', null), eb('expires_at_ms', '>', nowMs)]))
      .executeTakeFirstOrThrow()
    return { all: Number(all), own: Number(own) }
  }

  /** Forgets keys that were over before `beforeMs`. */
  async purge(beforeMs: number, transaction: Transaction<Database>): Promise<void> {
    const over = transaction
      .selectFrom('api_keys')
      .select('id')
      .where(({ or, eb }) => or([eb('revoked_at_ms', '<', beforeMs), eb('expires_at_ms', '<', beforeMs)]))
    await transaction.deleteFrom('api_key_grants').where('key_id', 'in', over).execute()
    await transaction
      .deleteFrom('api_keys')
      .where(({ or, eb }) => or([eb('revoked_at_ms', '<', beforeMs), eb('expires_at_ms', '<', beforeMs)]))
      .execute()
  }

  async list(request: PageRequest, view: ApiKeyView): Promise<Page<ApiKey>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.database.kysely
      .selectFrom('api_keys')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, API_KEY_ID))
    if (view.sites !== 'all') {
      const own = sql<boolean>`created_by = ${view.userId}`
      const siteCount = view.sites.size
      const siteIds = givenTexts(this.database.dialect, [...view.sites].map(String))
      const within = sql<boolean>`not exists (select 1 from api_key_grants
        where key_id = api_keys.id and cast(site_id as text) not in ${siteIds})`
      query = query.where(({ or }) => or(siteCount === 0 ? [own] : [own, within]))
    }
    const rows = await query.execute()
    const grants = await this.grantsOf(rows.map(({ id }) => id))
    return toPage(rows, limit, newestFirstKey, (row) => toApiKey(row, grants.get(row.id) ?? []))
  }

  async get(id: string): Promise<ApiKey | null> {
    return (await this.stored([id])).get(id)?.key ?? null
  }

  /** Those of `ids` that there are. */
  async stored(ids: readonly string[]): Promise<Map<string, StoredApiKey>> {
    const { kysely, dialect } = this.database
    const rows = await kysely
      .selectFrom('api_keys')
      .leftJoin('users', 'users.id', 'api_keys.created_by')
      .selectAll('api_keys')
      .select('users.status as maker_status')
      .where(sql<boolean>`api_keys.id in ${givenTexts(dialect, ids)}`)
      .execute()
    if (rows.length === 0) return new Map()
    const [grants, makers] = await Promise.all([
      this.grantsOf(rows.map(({ id }) => id)),
      this.users.grantsOf([...new Set(rows.map(({ created_by }) => created_by))]),
    ])
    return new Map(
      rows.map((row): [string, StoredApiKey] => [
        row.id,
        {
          key: toApiKey(row, grants.get(row.id) ?? []),
          secretHash: row.secret_hash,
          makerActive: row.maker_status === 'active',
          makerGrants: makers.get(row.created_by) ?? [],
        },
      ]),
    )
  }

  /** A key that is revoked already stays as it is. */
  async revoke(id: string, nowMs: number): Promise<void> {
    await this.database.kysely
      .updateTable('api_keys')
      .set({ revoked_at_ms: nowMs })
      .where('id', '=', id)
      .where('revoked_at_ms', 'is', null)
      .execute()
  }

  /** Unless another core noted a use since `beforeMs`. */
  async noteUse(id: string, nowMs: number, beforeMs: number): Promise<void> {
    await this.database.kysely
      .updateTable('api_keys')
      .set({ last_used_at_ms: nowMs })
      .where('id', '=', id)
      .where(({ or, eb }) => or([eb('last_used_at_ms', 'is', null), eb('last_used_at_ms', '<', beforeMs)]))
      .execute()
  }

  private async grantsOf(ids: readonly string[]): Promise<Map<string, Grant[]>> {
    const { kysely, dialect } = this.database
    const rows = await kysely
      .selectFrom('api_key_grants')
      .selectAll()
      .where(sql<boolean>`key_id in ${givenTexts(dialect, ids)}`)
      .orderBy('role')
      .orderBy('site_id')
      .execute()
    const grants = new Map<string, Grant[]>()
    for (const { key_id, role, site_id } of rows) {
      const list = grants.get(key_id) ?? []
      list.push({ role: role as Role, siteId: site_id === 0 ? 'all' : site_id })
      grants.set(key_id, list)
    }
    return grants
  }
}

function toApiKey(row: Selectable<ApiKeysTable>, grants: readonly Grant[]): ApiKey {
  return {
    id: row.id,
    name: row.name,
    scopes: JSON.parse(row.scopes) as string[],
    grants,
    createdBy: row.created_by,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    lastUsedAtMs: row.last_used_at_ms,
    revokedAtMs: row.revoked_at_ms,
  }
}
