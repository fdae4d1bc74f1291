/** Points in time as people and programs write them: RFC 3339 text. */

import { FormatRegistry } from '@sinclair/typebox'

const RFC_3339 = /^(\d{4})-(\d\d)-(\d\d)T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/

/** What an instant must look like, for people. */
export const INSTANT_FORM =
  'RFC 3339 with seconds and offset, such as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00'

/** Unix milliseconds of RFC 3339 text, rounded down; null when it is none or names a day that no month has. */
export function readInstant(text: string): number | null {
  const parts = RFC_3339.exec(text)
  if (parts === null) return null
  const ms = Date.parse(text)
  // The engine takes the 30th of February for the 2nd of March.
  const daysOfMonth = new Date(Date.UTC(Number(parts[1]), Number(parts[2]), 0)).getUTCDate()
  return Number.isNaN(ms) || Number(parts[3]) > daysOfMonth ? null : Math.floor(ms)
}

// TypeBox refuses every value of a format it does not know.
FormatRegistry.Set('date-time', (text) => readInstant(text) !== null)
