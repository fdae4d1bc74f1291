/** Verification of the activity log: whether it is as it was written, and where it is not. */

import type { DatabaseHandle } from '../database/database.ts'
import type { ActivityKeys } from './activity-keys.ts'

/** How far the chain of a day had come: what to note, so that later nobody can cut off what came before. */
export interface DayHead {
  readonly day: string
  readonly entries: number
  readonly headHash: string
}

export type FindingKind =
  /** What is stored of the entry is not what was written. */
  | 'ENTRY_CHANGED'
  /** Entries of these places are gone. */
  | 'ENTRY_MISSING'
  /** An entry that is not of the chain. */
  | 'ENTRY_ADDED'
  /** The row of the day is not what was written. */
  | 'DAY_CHANGED'
  /** A day between this one and the one before is gone, or the one before was changed. */
  | 'DAY_MISSING'
  /** A head that was noted earlier is not on the chain. */
  | 'HEAD_MISSING'

export interface Finding {
  readonly kind: FindingKind
  readonly day: string
  /** Of the first entry that it is about; null for the day itself. */
  readonly place: number | null
  readonly lastPlace: number | null
  readonly eventId: string | null
  /** A sentence. */
  readonly message: string
}

export interface VerifiedDay extends DayHead {
  readonly keyId: string
  /** RFC 3339; null while its entries are there. */
  readonly purgedAt: string | null
  readonly findings: number
  /** Why it could not be verified; null when it was. */
  readonly unable: string | null
}

export interface VerificationReport {
  /** RFC 3339. */
  readonly verifiedAt: string
  /** Ascending. */
  readonly days: readonly VerifiedDay[]
  /** Entries that were read. */
  readonly entries: number
  /** The first 1,000. */
  readonly findings: readonly Finding[]
  readonly findingsTotal: number
}

export interface VerificationOptions {
  readonly database: Pick<DatabaseHandle, 'kysely' | 'dialect'>
  readonly keys: ActivityKeys
  readonly nowMs: number
  /** First and last day, such as 2026-01-31; default: all. */
  readonly fromDay?: string | undefined
  readonly toDay?: string | undefined
  /** Heads noted earlier, as `readHeads` reads them. */
  readonly against?: readonly DayHead[]
  readonly signal?: AbortSignal
  /** Told now and then of how many entries were read, of how many that there are. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Reads the log as it is, beside cores that go on writing; changes nothing.
 * @throws BusbarError DATABASE_UNAVAILABLE
 */
export async function verifyActivities(options: VerificationOptions): Promise<VerificationReport> {
  throw new Error(`not yet: ${options.nowMs}`)
}

/**
 * The heads in an earlier report, or in a listing of days: `{"days":[{"day","entries","headHash"}]}` or the bare list.
 * @throws BusbarError ACTIVITY_REPORT_INVALID
 */
export function readHeads(report: unknown): readonly DayHead[] {
  throw new Error(`not yet: ${typeof report}`)
}
