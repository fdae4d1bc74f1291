/**
 * Verification of the activity log: whether it is as it was written, and where it is not. It reads beside cores that go on
 * writing: of each day as much as its row says that there is.
 */

import { type Kysely, sql } from 'kysely'
import { DAY_MS } from '../../shared/durations.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { ActivityKeys } from './activity-keys.ts'
import type { ActivityRow } from './activity-rows.ts'
import type { DayRow } from './chain.ts'
import { instantText } from './days.ts'
import {
  type DayHead,
  dayFinding,
  type Finding,
  Findings,
  type VerificationReport,
  type VerifiedDay,
} from './verification-report.ts'
import { type CheckedDay, checkDays } from './verify-days.ts'
import { EntryWalk } from './verify-entries.ts'

export { type DayHead, readHeads } from './verification-report.ts'
export type { VerificationReport }

export interface VerificationOptions {
  readonly database: Pick<DatabaseHandle, 'kysely'>
  readonly keys: ActivityKeys
  readonly nowMs: number
  /** First and last day, such as 2026-01-31; default: all. */
  readonly fromDay?: string | undefined
  readonly toDay?: string | undefined
  /** Heads noted earlier, as `readHeads` reads them. */
  readonly against?: readonly DayHead[]
  /** Told now and then of how many entries were read, of how many that there are. */
  readonly onProgress?: (done: number, total: number) => void
}

const ROWS_PER_PAGE = 2_000
/** A purge that goes on for longer than this has left something behind. */
const PURGE_MS = DAY_MS
/** Of what is too much in a day, that much is told. */
const ADDED_MAX = 100

/** @throws BusbarError DATABASE_UNAVAILABLE */
export async function verifyActivities(options: VerificationOptions): Promise<VerificationReport> {
  return await new Verification(options).run()
}

class Verification {
  private readonly options: VerificationOptions
  private readonly kysely: Kysely<Database>
  private readonly findings = new Findings()
  private done = 0
  private total = 0

  constructor(options: VerificationOptions) {
    this.options = options
    this.kysely = options.database.kysely
  }

  async run(): Promise<VerificationReport> {
    const { keys, nowMs, fromDay = '' } = this.options
    const rows = await this.days()
    const isAsked = ({ day }: DayRow) => this.isAsked(day)
    const before = rows.findLast(({ day }) => day < fromDay) ?? null
    const days = checkDays(rows.filter(isAsked), before, keys, (finding) => this.findings.add(finding))
    this.total = days.reduce((sum, { row }) => sum + (row.purged_at_ms === null ? row.entries : 0), 0)
    for (const day of days) await this.verify(day)
    await this.findUnknownDays(new Set(rows.map(({ day }) => day)))
    await this.compare(rows)
    return {
      verifiedAt: new Date(nowMs).toISOString(),
      days: days.map((day) => this.told(day)),
      entries: this.done,
      findings: this.findings.kept,
      findingsTotal: this.findings.total,
    }
  }

  private isAsked(day: string): boolean {
    const { fromDay, toDay } = this.options
    return (fromDay === undefined || day >= fromDay) && (toDay === undefined || day <= toDay)
  }

  private async days(): Promise<DayRow[]> {
    return await this.kysely.selectFrom('activity_days').selectAll().orderBy('day').execute()
  }

  private async verify(checked: CheckedDay): Promise<void> {
    const { row, key } = checked
    if (row.purged_at_ms !== null) {
      const isOver = this.options.nowMs - row.purged_at_ms > PURGE_MS
      if (isOver) await this.findAdded(row.day, 'the entries of its day were removed because of their age')
      return
    }
    if (key === null) return
    const found: Finding[] = []
    await this.walk(checked, key, found)
    // A purge that began meanwhile explains what is missing.
    if (found.length > 0 && (await this.isPurged(row.day))) return
    for (const finding of found) this.findings.add(finding)
    await this.findAdded(row.day, 'it is not within the chain of its day')
  }

  private async walk({ row, begins, genuine }: CheckedDay, key: Uint8Array, found: Finding[]): Promise<void> {
    const { onProgress } = this.options
    const tell = (finding: Finding) => void found.push(finding)
    const walk = new EntryWalk({ key, day: row.day, begins, tell })
    let last: ActivityRow | undefined
    do {
      const page = await this.page(row, last)
      for (const entry of page) walk.next(entry)
      this.done += page.length
      onProgress?.(this.done, Math.max(this.total, this.done))
      last = page.length < ROWS_PER_PAGE ? undefined : page.at(-1)
    } while (last !== undefined)
    walk.end(row.entries)
    if (found.length > 0 || !genuine || walk.head === null || walk.head === row.head_hash) return
    tell(dayFinding('DAY_CHANGED', row.day, 'its head is not the hash of its last entry'))
  }

  /** In the order of places; should somebody have given two entries one place, neither is passed over. */
  private async page({ day, entries }: DayRow, after: ActivityRow | undefined): Promise<ActivityRow[]> {
    let query = this.kysely.selectFrom('activity_logs').selectAll().where('day', '=', day).where('place', '<=', entries)
    if (after !== undefined) {
      const { place, event_id } = after
      query = query.where('place', '>=', place).where(sql<boolean>`(place > ${place} or event_id > ${event_id})`)
    }
    return await query.orderBy('place').orderBy('event_id').limit(ROWS_PER_PAGE).execute()
  }

  private async isPurged(day: string): Promise<boolean> {
    const row = await this.kysely
      .selectFrom('activity_days')
      .select('purged_at_ms')
      .where('day', '=', day)
      .executeTakeFirst()
    return row !== undefined && row.purged_at_ms !== null
  }

  /** One statement, so that the row of the day and its entries are of one moment. */
  private async findAdded(day: string, message: string): Promise<void> {
    const added = await this.kysely
      .selectFrom('activity_logs as log')
      .innerJoin('activity_days as of', 'of.day', 'log.day')
      .select(['log.place', 'log.event_id'])
      .where('log.day', '=', day)
      .where(sql<boolean>`(log.place > of.entries or of.purged_at_ms is not null)`)
      .orderBy('log.place')
      .limit(ADDED_MAX)
      .execute()
    for (const { place, event_id } of added) {
      this.findings.add({ kind: 'ENTRY_ADDED', day, place, lastPlace: place, eventId: event_id, message })
    }
  }

  private async findUnknownDays(known: ReadonlySet<string>): Promise<void> {
    // Whatever somebody has put there as a day: no text is one as well.
    let day = await this.nextDayOfEntries(null)
    while (day !== null) {
      if (this.isAsked(day) && !known.has(day) && !(await this.hasBegun(day))) {
        const message = 'there are entries of this day, and its row in activity_days is gone'
        this.findings.add(dayFinding('DAY_CHANGED', day, message))
      }
      day = await this.nextDayOfEntries(day)
    }
  }

  private async nextDayOfEntries(after: string | null): Promise<string | null> {
    let query = this.kysely.selectFrom('activity_logs').select(({ fn }) => fn.min('day').as('first'))
    if (after !== null) query = query.where('day', '>', after)
    const { first } = await query.executeTakeFirstOrThrow()
    return first as string | null
  }

  private async hasBegun(day: string): Promise<boolean> {
    const row = await this.kysely.selectFrom('activity_days').select('day').where('day', '=', day).executeTakeFirst()
    return row !== undefined
  }

  /** Whether the heads that were noted earlier are still on the chain. */
  private async compare(rows: readonly DayRow[]): Promise<void> {
    const days = new Map(rows.map((row) => [row.day, row]))
    for (const head of this.options.against ?? []) {
      if (!this.isAsked(head.day)) continue
      const why = await this.whyMissing(head, days.get(head.day))
      if (why === null) continue
      const { day, entries } = head
      this.findings.add({ kind: 'HEAD_MISSING', day, place: entries, lastPlace: null, eventId: null, message: why })
    }
  }

  private async whyMissing({ day, entries, headHash }: DayHead, row: DayRow | undefined): Promise<string | null> {
    if (row === undefined) return 'the day was noted earlier and is gone'
    if (row.entries < entries) return `${entries} entries were noted earlier, and it has ${row.entries}`
    const differs = 'the hash of this place is not the one that was noted earlier'
    if (row.entries === entries) return row.head_hash === headHash ? null : differs
    // Of a day whose entries are gone because of their age, the row alone can vouch.
    if (row.purged_at_ms !== null) return null
    const entry = await this.kysely
      .selectFrom('activity_logs')
      .select('hash')
      .where('day', '=', day)
      .where('place', '=', entries)
      .executeTakeFirst()
    return entry?.hash === headHash ? null : differs
  }

  private told({ row, unable }: CheckedDay): VerifiedDay {
    return {
      day: row.day,
      entries: row.entries,
      headHash: row.head_hash,
      keyId: row.key_id,
      purgedAt: row.purged_at_ms === null ? null : instantText(row.purged_at_ms),
      findings: this.findings.byDay.get(row.day) ?? 0,
      unable,
    }
  }
}
