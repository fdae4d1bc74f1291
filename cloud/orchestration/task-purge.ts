/** Tasks that ended long ago are removed with their devices, in small steps: a step that fails leaves the rest for the next. */

import type { Kysely } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { Database } from '../database/schema.ts'

/** Tasks looked up, and devices removed, by one statement. */
const TASKS_PER_STEP = 100
const DEVICES_PER_STEP = 5_000

/** Removes those that ended before `beforeMs`; resolves with how many. */
export async function purgeTasks(kysely: Kysely<Database>, beforeMs: number, signal: AbortSignal): Promise<number> {
  let removed = 0
  while (!signal.aborted) {
    const tasks = await kysely
      .selectFrom('tasks')
      .select(['id', 'device_count'])
      .where('created_at_ms', '<', beforeMs)
      .where('finished_at_ms', '<', beforeMs)
      .orderBy('created_at_ms')
      .orderBy('id')
      .limit(TASKS_PER_STEP)
      .execute()
    for (const { id, device_count: devices } of tasks) {
      // The devices first: a task without its devices would show a tally that does not add up to them, but go next time.
      for (let from = 0; from < devices && !signal.aborted; from += DEVICES_PER_STEP) {
        await kysely
          .deleteFrom('task_devices')
          .where('task_id', '=', id)
          .where('position', '>=', from)
          .where('position', '<', from + DEVICES_PER_STEP)
          .execute()
        // SQLite answers at once, so that without this nothing else would be done until all of it is gone.
        await nextTurn()
      }
      if (signal.aborted) return removed
      await kysely.deleteFrom('task_sites').where('task_id', '=', id).execute()
      await kysely.deleteFrom('tasks').where('id', '=', id).where('finished_at_ms', '<', beforeMs).execute()
      removed++
    }
    if (tasks.length < TASKS_PER_STEP) return removed
  }
  return removed
}
