/** The table of windows: how many activities of one type a user had in a stretch of time, by when they were done. */

import { sql, type Transaction } from 'kysely'
import { givenRows } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import type { CheckedActivity } from './event.ts'

/** Activities by what came of them. */
export interface OutcomeCounts {
  readonly succeeded: number
  readonly failed: number
  readonly refused: number
}

/** A row of the table. */
export interface WindowRow extends OutcomeCounts {
  readonly user_id: string
  readonly activity_type: string
  readonly window_start_ms: number
  readonly window_end_ms: number
}

export type WindowKey = Pick<WindowRow, 'user_id' | 'activity_type' | 'window_start_ms'>

const KEY_COLUMNS = { user_id: 'text', activity_type: 'text', window_start_ms: 'bigint' } as const
const COLUMNS = {
  ...KEY_COLUMNS,
  window_end_ms: 'bigint',
  succeeded: 'integer',
  failed: 'integer',
  refused: 'integer',
} as const
const STORED_COLUMNS = { ...COLUMNS, settled_at_ms: 'bigint' } as const

/** Pure: what they come to, one a window. */
export function countedWindows(activities: readonly CheckedActivity[], windowMs: number): readonly WindowRow[] {
  const windows = new Map<string, { -readonly [name in keyof WindowRow]: WindowRow[name] }>()
  for (const { userId, activityType, atMs, outcome } of activities) {
    const start = windowStart(atMs, windowMs)
    const key = `${start} ${activityType} ${userId}`
    let window = windows.get(key)
    if (window === undefined) {
      const empty = { succeeded: 0, failed: 0, refused: 0 }
      const times = { window_start_ms: start, window_end_ms: start + windowMs }
      window = { user_id: userId, activity_type: activityType, ...times, ...empty }
      windows.set(key, window)
    }
    if (outcome === 'FAILURE') window.failed++
    else if (outcome === 'REFUSED') window.refused++
    else window.succeeded++
  }
  return [...windows.values()]
}

export function windowStart(atMs: number, windowMs: number): number {
  return Math.floor(atMs / windowMs) * windowMs
}

/** Adds them; each is to be published again, once it is over and nothing more has come for a while. */
export async function addToWindows(
  windows: readonly WindowRow[],
  nowMs: number,
  dialect: Dialect,
  transaction: Transaction<Database>,
): Promise<void> {
  if (windows.length === 0) return
  const columns = sql.join(Object.keys(STORED_COLUMNS).map((column) => sql.ref(column)))
  const rows = windows.map((window) => ({ ...window, settled_at_ms: Math.max(window.window_end_ms, nowMs) }))
  // SQLite wants a condition between a select and what happens on conflict.
  await sql`
    insert into activity_windows (${columns}) select ${columns} from ${givenRows(dialect, STORED_COLUMNS, rows)}
    where true
    on conflict (user_id, activity_type, window_start_ms) do update set
      succeeded = activity_windows.succeeded + excluded.succeeded,
      failed = activity_windows.failed + excluded.failed,
      refused = activity_windows.refused + excluded.refused,
      settled_at_ms = excluded.settled_at_ms,
      published_at_ms = null`.execute(transaction)
}

/** The oldest that were over and unchanged by `settledByMs` and are to be published; nobody else changes them until the transaction ends. */
export async function lockDueWindows(
  settledByMs: number,
  limit: number,
  dialect: Dialect,
  transaction: Transaction<Database>,
): Promise<readonly WindowRow[]> {
  const due = transaction
    .selectFrom('activity_windows')
    .select(Object.keys(COLUMNS) as (keyof typeof COLUMNS)[])
    .where('published_at_ms', 'is', null)
    .where('settled_at_ms', '<=', settledByMs)
    .orderBy('settled_at_ms')
    .limit(limit)
  return await (dialect === 'postgres' ? due.forUpdate().skipLocked() : due).execute()
}

export async function markPublished(
  windows: readonly WindowKey[],
  nowMs: number,
  dialect: Dialect,
  transaction: Transaction<Database>,
): Promise<void> {
  const keys = windows.map(({ user_id, activity_type, window_start_ms }) => {
    return { user_id, activity_type, window_start_ms }
  })
  await sql`
    update activity_windows set published_at_ms = ${nowMs} from ${givenRows(dialect, KEY_COLUMNS, keys)}
    where activity_windows.user_id = given.user_id
      and activity_windows.activity_type = given.activity_type
      and activity_windows.window_start_ms = given.window_start_ms`.execute(transaction)
}

/** A window of all types of a user, or of all users. */
export interface WindowTotal extends OutcomeCounts {
  readonly user_id: string | null
  readonly activity_type: string | null
  readonly window_start_ms: number
  readonly window_end_ms: number
}

/** What the windows come to for each user and for each type that has one among them, those that were published before included. */
export async function totalsOf(
  windows: readonly WindowRow[],
  dialect: Dialect,
  transaction: Transaction<Database>,
): Promise<readonly WindowTotal[]> {
  const totals: WindowTotal[] = []
  for (const column of ['user_id', 'activity_type'] as const) {
    const wanted = new Map(
      windows.map((window) => {
        const row = { of: window[column], start_ms: window.window_start_ms, end_ms: window.window_end_ms }
        return [JSON.stringify(row), row]
      }),
    )
    const given = givenRows(dialect, { of: 'text', start_ms: 'bigint', end_ms: 'bigint' }, [...wanted.values()])
    const sum = (name: string) => sql`cast(sum(${sql.ref(name)}) as bigint) as ${sql.ref(name)}`
    const { rows } = await sql<OutcomeCounts & { of: string; start_ms: number; end_ms: number }>`
      select given.of, given.start_ms, given.end_ms, ${sum('succeeded')}, ${sum('failed')}, ${sum('refused')}
      from ${given} join activity_windows
        on activity_windows.window_end_ms = given.end_ms and activity_windows.window_start_ms = given.start_ms
        and activity_windows.${sql.ref(column)} = given.of
      group by given.of, given.start_ms, given.end_ms`.execute(transaction)
    for (const { of, start_ms, end_ms, succeeded, failed, refused } of rows) {
      totals.push({
        user_id: column === 'user_id' ? of : null,
        activity_type: column === 'activity_type' ? of : null,
        window_start_ms: start_ms,
        window_end_ms: end_ms,
        succeeded: Number(succeeded),
        failed: Number(failed),
        refused: Number(refused),
      })
    }
  }
  return totals
}

/** Removes at most `limit`; resolves with how many. */
export async function purgeWindows(
  endedByMs: number,
  limit: number,
  transaction: Transaction<Database>,
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from activity_windows where (user_id, activity_type, window_start_ms) in (
      select user_id, activity_type, window_start_ms from activity_windows
      where window_end_ms <= ${endedByMs} and published_at_ms is not null
      order by window_end_ms limit ${limit})`.execute(transaction)
  return Number(numAffectedRows ?? 0)
}
