/** Pages of a listing: ascending by key, continued by an opaque cursor, so that rows that come meanwhile shift nothing. */

import { InvalidRegistrationError } from './errors.ts'

export const PAGE_LIMIT_DEFAULT = 50
export const PAGE_LIMIT_MAX = 500
/** Of the `integer` type that ids have on PostgreSQL. */
const INTEGER_MAX = 2 ** 31 - 1

export interface PageRequest {
  /** Rows wanted, 1 to 500; default 50. */
  readonly limit?: number | undefined
  /** `next` of the page before; absent for the first. */
  readonly cursor?: string | undefined
}

export interface Page<T> {
  readonly items: readonly T[]
  /** Null on the last page. */
  readonly next: string | null
}

/** The limit and the key after which the page begins. */
export function readPageRequest<K extends string | number>(
  request: PageRequest,
  type: K extends number ? 'number' : 'string',
): { limit: number; after: K | null } {
  const { limit = PAGE_LIMIT_DEFAULT, cursor } = request
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_LIMIT_MAX) {
    throw new InvalidRegistrationError([
      { field: 'limit', value: limit, remedy: `an integer from 1 to ${PAGE_LIMIT_MAX}` },
    ])
  }
  return { limit, after: cursor === undefined ? null : decodeCursor<K>(cursor, type) }
}

/** @param rows up to `limit + 1` of them: the extra one tells that there is a next page. */
export function toPage<Row, T>(
  rows: readonly Row[],
  limit: number,
  key: (row: Row) => string | number,
  view: (row: Row) => T,
): Page<T> {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const more = rows.length > limit && last !== undefined
  return { items: shown.map(view), next: more ? encodeCursor(key(last)) : null }
}

/** What a page gives as `next`. */
export function encodeCursor(key: string | number): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}

function decodeCursor<K>(cursor: string, type: 'number' | 'string'): K {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    if (type === 'number' ? isDatabaseInteger(key) : isPlainText(key)) return key as K
  } catch {
    // Told below.
  }
  throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
}

/** A forged key must not reach the database as something that it cannot hold. */
function isDatabaseInteger(key: unknown): boolean {
  return Number.isInteger(key) && (key as number) >= 0 && (key as number) <= INTEGER_MAX
}

function isPlainText(key: unknown): boolean {
  // PostgreSQL has no NUL in text.
  return typeof key === 'string' && key.isWellFormed() && !key.includes('\0')
}
