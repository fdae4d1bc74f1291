/**
 * Upkeep of the activity log, on one core at a time. Days that are too old go, whole; their rows stay in the chain. The
 * head of each day that is over goes into the log of the program, which is kept elsewhere: who can write the database
 * cannot change it there.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import { type ActivityKeys, requireSigner } from './activity-keys.ts'
import { lockChain, putDay } from './activity-store.ts'
import { type DayRow, dayMac, purgeEventId, WRONG_MAC } from './chain.ts'
import { endOfDay } from './days.ts'
import { type Activities, SYSTEM } from './event.ts'
import { checkDays } from './verify-days.ts'

export interface ActivityUpkeepOptions {
  readonly database: DatabaseHandle
  readonly keys: ActivityKeys
  readonly settings: { readonly retentionDays: number }
  /** That a day was purged is an entry of its own. */
  readonly activities: Activities
  readonly coreId: string
  readonly clock: Clock
  readonly log: Logger
}

/** Of one statement, some milliseconds, and the pause after it, in which everybody else writes. */
const ROWS_PER_DELETE = 1_000
const DELETE_PAUSE_MS = 10
/** How far the clock may be ahead of the newest entry: one that was set a year ahead must not delete a year. */
const AHEAD_MS = 2 * DAY_MS
/**
 * Entries of such a clock make it no truer: what lies behind so long a gap counts as the time once there are so many days of
 * it. Somebody has seen it by then; and where nothing was recorded for long, the old days go that much later.
 */
const GAP_MS = 30 * DAY_MS
const DAYS_BEHIND_GAP = 7

export class ActivityUpkeep implements Part {
  readonly name = 'activity upkeep'
  private readonly options: ActivityUpkeepOptions
  private readonly duty: Duty
  private removed = 0
  private toldUpTo: string | null = null

  constructor(options: ActivityUpkeepOptions) {
    const { database, coreId, clock, log } = options
    this.options = options
    const work = (signal: AbortSignal) => this.run(signal)
    this.duty = new Duty({ name: this.name, database, coreId, periodMs: HOUR_MS, work, clock, log })
  }

  /** Entries removed since the start. */
  get purged(): number {
    return this.removed
  }

  async start(): Promise<void> {
    await this.duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.duty.stop(deadline)
  }

  /** One round; what is cut short goes on the next time. */
  async run(signal: AbortSignal): Promise<void> {
    const days = await this.options.database.kysely.selectFrom('activity_days').selectAll().orderBy('day').execute()
    this.complain(days)
    this.tellHeads(days)
    let failure: { error: unknown } | null = null
    for (const row of this.tooOld(days)) {
      if (signal.aborted) return
      try {
        await this.purge(row, signal)
      } catch (error) {
        // A key that is gone; the other days need not wait for it.
        failure ??= { error }
      }
    }
    if (failure !== null) throw failure.error
  }

  /** What the rows of the days show by themselves: whoever is on call should not have to ask. */
  private complain(days: readonly DayRow[]): void {
    checkDays(days, null, this.options.keys, ({ kind, day, message }) => {
      const hint = 'see what else: busbar-cloud activity verify'
      this.options.log.error({ kind, day, finding: message, hint }, 'the activity log has been changed')
    })
  }

  /** A day is over when there is a newer one: until then a core whose clock is behind may add to it. */
  private tellHeads(days: readonly DayRow[]): void {
    const over = days.slice(0, -1)
    // After a start the last one alone, since nobody knows what was told before.
    const told = this.toldUpTo
    const untold = told === null ? over.slice(-1) : over.filter(({ day }) => day > told)
    for (const { day, entries, head_hash: headHash, key_id: keyId } of untold) {
      this.options.log.info({ day, entries, headHash, keyId }, 'a day of the activity log is over')
    }
    this.toldUpTo = over.at(-1)?.day ?? null
  }

  private tooOld(days: readonly DayRow[]): readonly DayRow[] {
    const { clock, settings } = this.options
    const newest = newestInTime(days)
    if (newest === undefined) return []
    const nowMs = Math.min(clock.wallMs(), endOfDay(newest.day) + AHEAD_MS)
    return days.slice(0, -1).filter(({ day }) => endOfDay(day) + settings.retentionDays * DAY_MS <= nowMs)
  }

  private async purge(row: DayRow, signal: AbortSignal): Promise<void> {
    const { keys } = this.options
    if (row.purged_at_ms === null) {
      await this.record(row)
      await this.mark(row.day)
    } else if (row.key_id !== keys.chain[0].id) {
      // Vouched for anew, so that the old key can be put away once nothing is left that was made with it.
      await this.mark(row.day)
    }
    await this.remove(row.day, signal)
  }

  /** Before it is done, and under an id of its day: one that comes twice is stored once. */
  private async record(row: DayRow): Promise<void> {
    const { day, entries, head_hash: headHash } = row
    const { secret } = requireSigner(row, this.options.keys).key
    await this.options.activities.record({
      userId: SYSTEM,
      activityType: 'activity_log_purged',
      eventId: purgeEventId(secret, day),
      outcome: 'SUCCESS',
      objectType: 'activity-day',
      objectId: day,
      metadata: { entries, headHash },
    })
  }

  private async mark(day: string): Promise<void> {
    const { database, keys, clock } = this.options
    await database.transaction(async (transaction) => {
      await lockChain(transaction, database.dialect)
      const row = await transaction.selectFrom('activity_days').selectAll().where('day', '=', day).executeTakeFirst()
      if (row === undefined) return
      const { genuine } = requireSigner(row, keys)
      const [{ id, secret }] = keys.chain
      const marked = { ...row, key_id: id, purged_at_ms: row.purged_at_ms ?? Math.round(clock.wallMs()) }
      // What somebody has changed stays known as such.
      const mac = genuine ? dayMac(secret, marked) : WRONG_MAC
      await putDay({ ...marked, mac }, transaction)
    })
  }

  private async remove(day: string, signal: AbortSignal): Promise<void> {
    const { kysely } = this.options.database
    while (!signal.aborted) {
      const { first } = await kysely
        .selectFrom('activity_logs')
        .select(({ fn }) => fn.min('place').as('first'))
        .where('day', '=', day)
        .executeTakeFirstOrThrow()
      if (first === null) return
      const { numDeletedRows } = await kysely
        .deleteFrom('activity_logs')
        .where('day', '=', day)
        .where('place', '<', Number(first) + ROWS_PER_DELETE)
        .executeTakeFirst()
      this.removed += Number(numDeletedRows)
      if (numDeletedRows === BigInt(ROWS_PER_DELETE)) await sleep(this.options.clock, DELETE_PAUSE_MS, signal)
    }
  }
}

/** The newest day of which it is known that its time has come. */
function newestInTime(days: readonly DayRow[]): DayRow | undefined {
  const ends = days.map(({ day }) => endOfDay(day))
  const isGap = (end: number, i: number) =>
    i > 0 && i > days.length - 1 - DAYS_BEHIND_GAP && end - (ends[i - 1] ?? end) > GAP_MS
  const gap = ends.findIndex(isGap)
  return days.at(gap < 0 ? -1 : gap - 1)
}
