/**
 * Listings that begin with the newest, and looks at what changed since: rows in the order of (created_at_ms, id) and
 * (updated_at_ms, id). The bound on the time alone lets SQLite begin in the index where the page does.
 */

import { type RawBuilder, sql } from 'kysely'
import { InvalidRegistrationError } from './errors.ts'

/** What a cursor holds of the last row of a page. */
export function newestFirstKey({ created_at_ms, id }: { readonly created_at_ms: number; readonly id: string }): string {
  return `${created_at_ms}/${id}`
}

/**
 * Rows that follow the one of `key`; those that come meanwhile are newer, so they shift nothing.
 * @param cursor as it was given, for the error.
 * @param id what an id looks like: a forged one must not reach the database.
 * @throws InvalidRegistrationError
 */
export function olderThan(key: string, cursor: string | undefined, id: RegExp): RawBuilder<boolean> {
  const { atMs, id: rowId } = readTimeKey(key, cursor, id)
  return sql<boolean>`(created_at_ms <= ${atMs} and (created_at_ms < ${atMs} or id < ${rowId}))`
}

/** Where a page begins that is in the order of a time and an id: its key is `<Unix milliseconds>/<id>`. As `olderThan`. */
export function readTimeKey(key: string, cursor: string | undefined, id: RegExp): { atMs: number; id: string } {
  const [, ms = '', rowId = ''] = /^(\d{1,15})\/(.+)$/.exec(key) ?? []
  if (id.test(rowId)) return { atMs: Number(ms), id: rowId }
  throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
}

/** Rows changed at `sinceMs` with an id after `afterId`, or later. */
export function changedAfter(sinceMs: number, afterId: string): RawBuilder<boolean> {
  return sql<boolean>`(updated_at_ms >= ${sinceMs} and (updated_at_ms > ${sinceMs} or id > ${afterId}))`
}
