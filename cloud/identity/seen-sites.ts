/** Where people may see what is told to them without their asking. */

import { type Kysely, sql } from 'kysely'
import { givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import { NO_SITES, type SiteScope } from '../registry/site-scope.ts'
import { KEY_CALLER } from './api-key.ts'
import { type Grant, type Role, sitesWith } from './roles.ts'

/**
 * By user, the sites that each of them may see. Who is no user is left out: where nobody logs in there are none, and whoever
 * is named is told. One who is disabled sees nothing, and neither does an API key, which nobody reads.
 */
export async function sitesSeen(
  userIds: readonly string[],
  kysely: Kysely<Database>,
  dialect: Dialect,
): Promise<ReadonlyMap<string, SiteScope>> {
  const seen = new Map<string, SiteScope>(userIds.filter((id) => id.startsWith(KEY_CALLER)).map((id) => [id, NO_SITES]))
  const people = userIds.filter((id) => !seen.has(id))
  if (people.length === 0) return seen
  const rows = await kysely
    .selectFrom('users')
    .leftJoin('user_grants', 'user_grants.user_id', 'users.id')
    .select(['users.id', 'users.status', 'user_grants.role', 'user_grants.site_id'])
    .where(sql<boolean>`users.id in ${givenTexts(dialect, people)}`)
    .execute()
  for (const [id, grants] of Map.groupBy(rows, (row) => row.id)) {
    const given = grants.flatMap(({ role, site_id, status }): Grant[] => {
      if (status !== 'active' || role === null || site_id === null) return []
      return [{ role: role as Role, siteId: site_id === 0 ? 'all' : site_id }]
    })
    seen.set(id, sitesWith(given, 'viewer'))
  }
  return seen
}
