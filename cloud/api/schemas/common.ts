/** Values that occur in several resources. */

import { type TSchema, Type } from '@sinclair/typebox'
import { INSTANT_FORM, readInstant } from '../../../shared/instant.ts'
import { SERIAL_NUMBER_PATTERN } from '../../../shared/mqtt-topics.ts'
import { PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX } from '../../registry/page.ts'

export const closed = { additionalProperties: false }

/** Largest site id that fits in an MQTT topic. */
export const SiteIdSchema = Type.Integer({
  minimum: 1,
  maximum: 999_999_999,
  description: 'The siteId of the MQTT topics',
})
/** PostgreSQL's integer is the narrower of the two databases'. */
export const DeviceIdSchema = Type.Integer({ minimum: 1, maximum: 2_147_483_647 })
export const SerialNumberSchema = Type.String({
  pattern: SERIAL_NUMBER_PATTERN.source,
  description: '1 to 64 letters, digits, ".", "_", ":" or "-"; unique within a site',
})
export const GatewayIdSchema = Type.String({
  pattern: SERIAL_NUMBER_PATTERN.source,
  description: '1 to 64 letters, digits, ".", "_", ":" or "-"',
})
export const NameSchema = Type.String({
  minLength: 1,
  maxLength: 200,
  // No control characters, which would steer the terminal of who lists it, and no blanks at either end.
  pattern: '^[^\\s\\x00-\\x1f\\x7f-\\x9f](?:[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f])?$',
  description: '1 to 200 characters on one line, without blanks at either end',
})

export const TimeSchema = Type.String({ format: 'date-time', description: 'RFC 3339, UTC' })
/** A time as callers give it; `readInstant` reads it. */
export const InstantSchema = Type.String({ format: 'date-time', description: INSTANT_FORM })

export function nullable<Schema extends TSchema>(schema: Schema) {
  return Type.Union([schema, Type.Null()])
}

/** RFC 3339 in UTC with milliseconds. */
export function time(ms: number): string {
  return new Date(ms).toISOString()
}

export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : time(ms)
}

/** Query members of every listing. */
export const PAGE_QUERY = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: PAGE_LIMIT_MAX,
      default: PAGE_LIMIT_DEFAULT,
      description: 'Items of the page',
    }),
  ),
  cursor: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'The nextCursor of the page before; absent for the first',
    }),
  ),
}

export function pageSchema(item: TSchema) {
  return Type.Object(
    {
      items: Type.Array(item),
      nextCursor: nullable(Type.String({ description: 'Asks for the next page; null on the last' })),
    },
    closed,
  )
}

export function pageBody<T>(
  page: { readonly items: readonly T[]; readonly next: string | null },
  view: (item: T) => unknown,
) {
  return { items: page.items.map(view), nextCursor: page.next }
}

/** Query members of listings by the time of creation; see `createdRange`. */
export const CREATED_QUERY = {
  created_after: Type.Optional({
    ...InstantSchema,
    description: `At that time or later. ${InstantSchema.description}`,
  }),
  created_before: Type.Optional({
    ...InstantSchema,
    description: `Before that time. ${InstantSchema.description}`,
  }),
}

/** Both ends as Unix milliseconds. */
export function createdRange(query: { readonly created_after?: string; readonly created_before?: string }) {
  return { createdAfterMs: instant(query.created_after), createdBeforeMs: instant(query.created_before) }
}

/** Unix milliseconds of a text that matches InstantSchema. */
export function instant(text: string | undefined): number | undefined {
  return text === undefined ? undefined : (readInstant(text) ?? undefined)
}
