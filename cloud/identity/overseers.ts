/** Who looks after everything, and is told of what concerns all of it. */

import type { Kysely } from 'kysely'
import type { Database } from '../database/schema.ts'
import type { Role } from './roles.ts'

/** Users who may log in and have one of these roles over every site, each once. */
export async function overseers(roles: readonly Role[], kysely: Kysely<Database>): Promise<readonly string[]> {
  const rows = await kysely
    .selectFrom('users')
    .innerJoin('user_grants', 'user_grants.user_id', 'users.id')
    .select('users.id')
    .distinct()
    .where('users.status', '=', 'active')
    .where('user_grants.role', 'in', roles)
    .where('user_grants.site_id', '=', 0)
    .execute()
  return rows.map(({ id }) => id)
}
