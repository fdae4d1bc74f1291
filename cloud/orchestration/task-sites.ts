/**
 * The sites that a task is about, kept beside it: whoever may see all of them sees the task, as does who asked for it. Of a
 * task none of whose devices is known there are none, and it is for those who see every site.
 */

import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import { allSitesCondition } from '../registry/site-condition.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import type { NewTaskDevice } from './task-store.ts'

const TASK_SITES = { table: 'task_sites', key: 'task_id', of: 'tasks.id' } as const

/** Of a row of `tasks`: who sees these sites, and is called `askedBy`, sees it. Null when everything is seen. */
export function taskCondition(dialect: Dialect, sites?: SiteScope, askedBy = ''): RawBuilder<boolean> | null {
  return allSitesCondition(dialect, TASK_SITES, sites, askedBy)
}

/** Takes note, in the caller's transaction, that the task is about these devices as well. */
export async function addTaskSites(
  dialect: Dialect,
  taskId: string,
  devices: readonly Pick<NewTaskDevice, 'siteId' | 'maybeAt'>[],
  transaction: Transaction<Database>,
): Promise<void> {
  const sites = new Set(devices.flatMap(({ siteId, maybeAt = [] }) => (siteId === null ? maybeAt : [siteId])))
  if (sites.size === 0) return
  const rows = [...sites].sort((a, b) => a - b).map((site_id) => ({ site_id }))
  await sql`
    insert into task_sites (task_id, site_id)
    select cast(${taskId} as text), site_id from ${givenRows(dialect, { site_id: 'integer' }, rows)}
    where true on conflict (task_id, site_id) do nothing`.execute(transaction)
}

/** By task, ascending; those of tasks without are left out. */
export async function sitesOfTasks(
  dialect: Dialect,
  taskIds: readonly string[],
  kysely: Kysely<Database>,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const rows = await kysely
    .selectFrom('task_sites')
    .selectAll()
    .where(sql<boolean>`task_id in ${givenTexts(dialect, taskIds)}`)
    .orderBy('task_id')
    .orderBy('site_id')
    .execute()
  return new Map(
    [...Map.groupBy(rows, (row) => row.task_id)].map(([id, sites]) => [id, sites.map((row) => row.site_id)]),
  )
}
