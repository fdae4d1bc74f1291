/** What a verification of the activity log tells, and the heads that are noted of it for the next one. */

import { BusbarError } from '../../shared/errors.ts'
import { isDay } from './days.ts'

/** How far the chain of a day had come: what to note elsewhere, so that nobody can cut off unnoticed what came before. */
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
  /** A day between this one and the one before it is gone. */
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

export const FINDINGS_MAX = 1_000

/** Of a day as a whole. */
export function dayFinding(kind: FindingKind, day: string, message: string): Finding {
  return { kind, day, place: null, lastPlace: null, eventId: null, message }
}

/** Counts all findings and keeps the first. */
export class Findings {
  readonly kept: Finding[] = []
  readonly byDay = new Map<string, number>()
  total = 0

  add(finding: Finding): void {
    this.total++
    this.byDay.set(finding.day, (this.byDay.get(finding.day) ?? 0) + 1)
    if (this.kept.length < FINDINGS_MAX) this.kept.push(finding)
  }
}

/**
 * The heads in an earlier report, or in a listing of days: `{"days":[{"day","entries","headHash"}]}`, `{"items":[…]}` or
 * the bare list.
 * @throws BusbarError ACTIVITY_REPORT_INVALID
 */
export function readHeads(report: unknown): readonly DayHead[] {
  const { days, items } = (report ?? {}) as { readonly days?: unknown; readonly items?: unknown }
  const heads = days ?? items ?? report
  if (Array.isArray(heads) && heads.every(isHead)) {
    return heads.map(({ day, entries, headHash }) => ({ day, entries, headHash }))
  }
  throw new BusbarError('that is no report of an earlier verification', {
    code: 'ACTIVITY_REPORT_INVALID',
    hint: 'Make one with: busbar-cloud activity verify --json',
  })
}

function isHead(value: unknown): value is DayHead {
  const { day, entries, headHash } = (value ?? {}) as Partial<Record<keyof DayHead, unknown>>
  return (
    typeof day === 'string' &&
    isDay(day) &&
    Number.isSafeInteger(entries) &&
    (entries as number) >= 0 &&
    typeof headHash === 'string' &&
    /^[0-9a-f]{64}$/.test(headHash)
  )
}
