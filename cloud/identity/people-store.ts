/** Users as other users see them, in the database. */

import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { siteCondition } from '../registry/site-condition.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { KEY_CALLER } from './api-key.ts'

export class PeopleStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** One more than `limit` tells that there are others. @param wanted `search` is what `like` takes, in small letters. */
  async page(wanted: {
    readonly limit: number
    readonly after: string | null
    readonly search: string | null
    readonly sees: SiteScope
  }): Promise<{ id: string; name: string | null }[]> {
    let query = this.active(wanted.sees)
      .select('name')
      .orderBy('id')
      .limit(wanted.limit + 1)
    if (wanted.after !== null) query = query.where('id', '>', wanted.after)
    if (wanted.search !== null) {
      const pattern = wanted.search
      query = query.where(
        sql<boolean>`(lower(id) like ${pattern} escape '!' or lower(coalesce(name, '')) like ${pattern} escape '!')`,
      )
    }
    return await query.execute()
  }

  async known(ids: readonly string[], sees: SiteScope): Promise<string[]> {
    const given = sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`
    return (await this.active(sees).where(given).execute()).map(({ id }) => id)
  }

  /** Users who are active, and keys that are good, as whoever they act as. */
  async there(
    userIds: readonly string[],
    keyIds: readonly string[],
    nowMs: number,
    kysely: Kysely<Database> = this.database.kysely,
  ): Promise<ReadonlySet<string>> {
    const { dialect } = this.database
    const users = await kysely
      .selectFrom('users')
      .select('id')
      .where(sql<boolean>`id in ${givenTexts(dialect, userIds)}`)
      .where('status', '=', 'active')
      .execute()
    const keys = await kysely
      .selectFrom('api_keys')
      .innerJoin('users', 'users.id', 'api_keys.created_by')
      .select('api_keys.id')
      .where(sql<boolean>`api_keys.id in ${givenTexts(dialect, keyIds)}`)
      .where('users.status', '=', 'active')
      .where('revoked_at_ms', 'is', null)
      .where(({ or, eb }) => or([eb('expires_at_ms', 'is', null), eb('expires_at_ms', '>', nowMs)]))
      .execute()
    return new Set([...users.map(({ id }) => id), ...keys.map(({ id }) => `${KEY_CALLER}${id}`)])
  }

  async names(
    userIds: readonly string[],
    keyIds: readonly string[],
    kysely: Kysely<Database> = this.database.kysely,
  ): Promise<ReadonlyMap<string, string>> {
    const { dialect } = this.database
    const names = new Map<string, string>()
    if (userIds.length > 0) {
      const given = sql<boolean>`id in ${givenTexts(dialect, userIds)}`
      const users = await kysely.selectFrom('users').select(['id', 'name']).where(given).execute()
      for (const { id, name } of users) if (name !== null) names.set(id, name)
    }
    if (keyIds.length > 0) {
      const given = sql<boolean>`id in ${givenTexts(dialect, keyIds)}`
      const keys = await kysely.selectFrom('api_keys').select(['id', 'name']).where(given).execute()
      for (const { id, name } of keys) names.set(`${KEY_CALLER}${id}`, name)
    }
    return names
  }

  /** Of those, who shares a site with somebody who sees `sees`: a role somewhere is one to see what is there. */
  private active(sees: SiteScope) {
    const query = this.database.kysely.selectFrom('users').select('id').where('status', '=', 'active')
    const within = siteCondition(this.database.dialect, 'user_grants.site_id', sees)
    if (within === null) return query
    const everywhere = sql`user_grants.site_id = 0`
    return query.where(
      sql<boolean>`exists (select 1 from user_grants where user_grants.user_id = users.id
        and (${sql.join([everywhere, within as RawBuilder<unknown>], sql` or `)}))`,
    )
  }
}
