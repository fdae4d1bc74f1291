/** Whether the rows of the days are as they were written, and follow each other. Pure. */

import type { ActivityKeys } from './activity-keys.ts'
import { CHAIN_BEGIN, type DayRow, isGenuine } from './chain.ts'
import type { Finding } from './verification-report.ts'

export interface CheckedDay {
  readonly row: DayRow
  /** What the hash of its first entry may be made of. */
  readonly begins: readonly string[]
  /** That its entries were made with; null when it is not there. */
  readonly key: Uint8Array | null
  readonly genuine: boolean
  readonly unable: string | null
}

/**
 * @param rows ascending.
 * @param before the row before the first of them; null when that is the first of all.
 */
export function checkDays(
  rows: readonly DayRow[],
  before: DayRow | null,
  keys: ActivityKeys,
  tell: (finding: Finding) => void,
): CheckedDay[] {
  let previous = before === null ? null : { row: before, ...keyOf(before, keys) }
  return rows.map((row): CheckedDay => {
    const signed = keyOf(row, keys)
    const follows = previous?.row.head_hash ?? CHAIN_BEGIN
    const isFalse = signed.key !== null && !signed.genuine
    if (isFalse) tell(changed(row))
    const previousIsFalse = previous !== null && previous.key !== null && !previous.genuine
    if (row.previous_hash !== follows && !isFalse && !previousIsFalse) tell(missing(row, previous?.row ?? null))
    previous = { row, ...signed }
    const unable =
      signed.key === null ? `the key ${row.key_id}, which its chain was made with, is not in ${keys.setting}` : null
    return { row, begins: [...new Set([row.previous_hash, follows])], ...signed, unable }
  })
}

/** The key of the row's id; or, where somebody has changed that id alone, the one that the row was made with. */
function keyOf(row: DayRow, keys: ActivityKeys): { readonly key: Uint8Array | null; readonly genuine: boolean } {
  const named = keys.chain.find(({ id }) => id === row.key_id)
  if (named !== undefined) {
    if (isGenuine(named.secret, row)) return { key: named.secret, genuine: true }
  }
  const other = keys.chain.find(({ id, secret }) => isGenuine(secret, { ...row, key_id: id }))
  return { key: other?.secret ?? named?.secret ?? null, genuine: false }
}

function changed(row: DayRow): Finding {
  const said = row.purged_at_ms === null ? '' : '; that its entries went because of their age is not proved'
  const message = `the row of the day in activity_days is not what was written${said}`
  return { kind: 'DAY_CHANGED', day: row.day, place: null, lastPlace: null, eventId: null, message }
}

function missing(row: DayRow, before: DayRow | null): Finding {
  const message =
    before === null
      ? 'it is not the first day: one or more before it are gone'
      : `it does not follow ${before.day}: one or more days between them are gone`
  return { kind: 'DAY_MISSING', day: row.day, place: null, lastPlace: null, eventId: null, message }
}
