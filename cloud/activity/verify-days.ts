/** Whether the rows of the days are as they were written, and follow each other. Pure. */

import { type ActivityKeys, type Signer, signerOf } from './activity-keys.ts'
import { CHAIN_BEGIN, type DayRow } from './chain.ts'
import { dayFinding, type Finding } from './verification-report.ts'

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
  const sign = (row: DayRow) => ({ row, signer: signerOf(row, keys) })
  let previous = before === null ? null : sign(before)
  return rows.map((row): CheckedDay => {
    const { signer } = sign(row)
    const follows = previous?.row.head_hash ?? CHAIN_BEGIN
    if (isFalse(signer)) tell(changed(row))
    else if (row.previous_hash !== follows && !isFalse(previous?.signer)) tell(missing(row, previous?.row ?? null))
    previous = { row, signer }
    const unable = `the key ${row.key_id}, which its chain was made with, is not in ${keys.setting}`
    return {
      row,
      begins: [...new Set([row.previous_hash, follows])],
      key: signer?.key.secret ?? null,
      genuine: signer?.genuine ?? false,
      unable: signer === null ? unable : null,
    }
  })
}

/** Whether somebody is known to have changed a day; without its key nobody can know. */
function isFalse(signer: Signer | null | undefined): boolean {
  return signer !== null && signer !== undefined && !signer.genuine
}

function changed(row: DayRow): Finding {
  const said = row.purged_at_ms === null ? '' : '; that its entries went because of their age is not proved'
  const message = `the row of the day in activity_days is not what was written${said}`
  return dayFinding('DAY_CHANGED', row.day, message)
}

function missing(row: DayRow, before: DayRow | null): Finding {
  const message =
    before === null
      ? 'it is not the first day: one or more before it are gone'
      : `it does not follow ${before.day}: one or more days between them are gone`
  return dayFinding('DAY_MISSING', row.day, message)
}
