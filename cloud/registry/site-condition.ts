/** The sites that somebody may see, as a condition of a query: what is elsewhere is not read, so neither is it counted. */

import { type RawBuilder, sql } from 'kysely'
import type { Dialect } from '../database/schema.ts'
import type { SiteScope } from './site-scope.ts'

/** Null when all may be seen, and nothing is to be asked. @param column such as `devices.site_id`. */
export function siteCondition(dialect: Dialect, column: string, sites: SiteScope = 'all'): RawBuilder<boolean> | null {
  if (sites === 'all') return null
  const ids = [...sites]
  if (ids.length === 0) return sql<boolean>`1 = 0`
  // Of one site an index that begins with it has the order of the listing as well.
  if (ids.length === 1) return sql<boolean>`${sql.ref(column)} = ${ids[0]}`
  if (dialect === 'postgres') return sql<boolean>`${sql.ref(column)} = any(${ids}::int[])`
  return sql<boolean>`${sql.ref(column)} in (select value from json_each(${JSON.stringify(ids)}))`
}

/** Rows that say which sites something is about. */
export interface SitesOfThings {
  readonly table: string
  /** Its column that names the thing, and that of the thing itself, such as `tasks.id`. */
  readonly key: string
  readonly of: string
}

/**
 * What somebody asked for and what is about sites that are all seen; of no known site is only for who sees all. Null when
 * everything is seen.
 */
export function allSitesCondition(
  dialect: Dialect,
  { table, key, of }: SitesOfThings,
  sites: SiteScope | undefined,
  askedBy: string,
): RawBuilder<boolean> | null {
  const within = siteCondition(dialect, `${table}.site_id`, sites)
  if (within === null) return null
  const ofThing = sql`select 1 from ${sql.table(table)} where ${sql.ref(`${table}.${key}`)} = ${sql.ref(of)}`
  return sql<boolean>`(requested_by = ${askedBy}
    or (exists (${ofThing}) and not exists (${ofThing} and not (${within}))))`
}
