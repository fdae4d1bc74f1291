/**
 * Many rows or ids in one parameter, as JSON: compiling a statement with thousands of parameters costs more than running it.
 * Made for SQLite and PostgreSQL alike.
 */

import { type RawBuilder, sql } from 'kysely'
import type { Dialect } from './schema.ts'

export type GivenColumn = 'text' | 'integer' | 'bigint'

/** Rows as a table `given` with these columns; text must hold no NUL. */
export function givenRows<Columns extends Readonly<Record<string, GivenColumn>>>(
  dialect: Dialect,
  columns: Columns,
  rows: readonly Readonly<Record<keyof Columns, string | number | null>>[],
): RawBuilder<unknown> {
  const json = JSON.stringify(rows)
  if (dialect === 'postgres') {
    const definitions = Object.entries(columns).map(([column, type]) => sql`${sql.ref(column)} ${sql.raw(type)}`)
    return sql`json_to_recordset(cast(${json} as json)) as given(${sql.join(definitions)})`
  }
  const values = Object.keys(columns).map((column) => sql`value ->> ${sql.lit(column)} as ${sql.ref(column)}`)
  return sql`(select ${sql.join(values)} from json_each(${json})) as given`
}

/** A parenthesised list of texts for `in`. */
export function givenTexts(dialect: Dialect, texts: readonly string[]): RawBuilder<unknown> {
  const json = JSON.stringify(texts)
  return dialect === 'postgres'
    ? sql`(select json_array_elements_text(cast(${json} as json)))`
    : sql`(select value from json_each(${json}))`
}
