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
