/** Entries of the activity log are written here, and nowhere else: sealed, each once, and in the chain of their day. */

import { type Insertable, sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { ActivityDaysTable, Database, Dialect } from '../database/schema.ts'
import { type ActivityKeys, requireSigner } from './activity-keys.ts'
import { ACTIVITY_COLUMNS, type ActivityRow, rowOf, splitMetadata, type UnplacedRow } from './activity-rows.ts'
import { ActivitySeal } from './activity-seal.ts'
import { CHAIN_BEGIN, type DayRow, dayMac, entryDigest, entryHash, type UnsignedDay, WRONG_MAC } from './chain.ts'
import { dayOf, endOfDay } from './days.ts'
import type { ActivityEntry, CheckedActivity } from './event.ts'

export interface ActivityStoreOptions {
  readonly dialect: Dialect
  readonly keys: ActivityKeys
  /** activity.sensitiveFields */
  readonly sensitiveFields: readonly string[]
  readonly clock: Pick<Clock, 'wallMs'>
  readonly random: Random
  readonly log?: Pick<Logger, 'warn'>
}

/** Ids that a line of the log names. */
const IDS_NAMED_MAX = 20
/** Key of the advisory lock under which the chain grows and days are purged; any constant of our own would do. */
const CHAIN_LOCK = 0x61637476

/** Entries that are sealed and hashed before everything else has a turn; few turns, since PostgreSQL ends a transaction that stands still. */
const PREPARED_PER_TURN = 500

/** Everything of an entry that can be made before the chain is locked. */
interface Prepared {
  readonly activity: CheckedActivity
  readonly row: UnplacedRow
  readonly digest: string
}

/** What stays the same of an event that comes again; its time may be that of when it was sent again. */
type Known = Pick<CheckedActivity, 'userId' | 'activityType'>

export class ActivityStore {
  private readonly options: ActivityStoreOptions
  private readonly seal: ActivitySeal
  private readonly sensitive: ReadonlySet<string>

  constructor(options: ActivityStoreOptions) {
    this.options = options
    this.seal = new ActivitySeal(options.keys, options.random)
    this.sensitive = new Set(options.sensitiveFields)
  }

  /**
   * Stores those that are not there yet, in the order given, at the end of the chain. From here to the end of the transaction
   * no other core can: what else is written in it is better written before, or is short.
   * @returns the new ones in that order, with their metadata whole.
   * @throws BusbarError ACTIVITY_KEY_MISSING (retryable) when the key that today's chain began with is gone.
   */
  async append(
    activities: readonly CheckedActivity[],
    transaction: Transaction<Database>,
  ): Promise<readonly ActivityEntry[]> {
    if (activities.length === 0) return []
    const nowMs = Math.round(this.options.clock.wallMs())
    const today = dayOf(nowMs)
    const prepared = new Map<string, Prepared>()
    const taken: string[] = []
    for (const [i, activity] of activities.entries()) {
      if (i > 0 && i % PREPARED_PER_TURN === 0) await nextTurn()
      const before = prepared.get(activity.eventId)
      if (before === undefined) prepared.set(activity.eventId, this.prepare(activity, today, nowMs))
      else if (!isSame(before.activity, activity)) taken.push(activity.eventId)
    }
    await lockChain(transaction, this.options.dialect)
    for (const stored of await this.storedOf([...prepared.keys()], transaction)) {
      const { activity } = prepared.get(stored.eventId) as Prepared
      if (!isSame(activity, stored)) taken.push(stored.eventId)
      prepared.delete(stored.eventId)
    }
    if (taken.length > 0) this.complain(taken)
    if (prepared.size === 0) return []
    const newest = await newestDay(transaction)
    return await this.link([...prepared.values()], today, newest, transaction)
  }

  private prepare(activity: CheckedActivity, today: string, nowMs: number): Prepared {
    const { plain, sensitive } = splitMetadata(activity.metadata, this.sensitive)
    const sealed = sensitive === null ? null : this.seal.seal(activity.eventId, today, sensitive)
    const row = rowOf(activity, plain, sealed, nowMs)
    return { activity, row, digest: entryDigest(row) }
  }

  /** Whoever gives an event the id of another one keeps that out, which should not go unseen. */
  private complain(taken: readonly string[]): void {
    this.options.log?.warn(
      { activities: taken.length, eventIds: taken.slice(0, IDS_NAMED_MAX) },
      'activities that have the id of another one are not stored',
    )
  }

  private async storedOf(
    eventIds: readonly string[],
    transaction: Transaction<Database>,
  ): Promise<readonly (Known & Pick<CheckedActivity, 'eventId'>)[]> {
    return await transaction
      .selectFrom('activity_logs')
      .select(['event_id as eventId', 'user_id as userId', 'activity_type as activityType'])
      .where(sql<boolean>`event_id in ${givenTexts(this.options.dialect, eventIds)}`)
      .execute()
  }

  private async link(
    prepared: readonly Prepared[],
    today: string,
    newest: DayRow | undefined,
    transaction: Transaction<Database>,
  ): Promise<readonly ActivityEntry[]> {
    const { keys } = this.options
    const begun = this.dayOn(today, newest)
    const { day } = begun
    // What somebody has changed stays known as such, however much comes after it.
    const { key, genuine } = newest?.day === day ? requireSigner(newest, keys) : { key: keys.chain[0], genuine: true }
    const { id: key_id, secret } = key
    let { head_hash: hash } = begun
    let place = Math.max(begun.entries, await lastPlaceOf(day, transaction))
    const rows: ActivityRow[] = []
    const entries: ActivityEntry[] = []
    for (const { activity, row, digest } of prepared) {
      hash = entryHash(secret, hash, day, ++place, digest)
      rows.push({ ...row, day, place, hash })
      entries.push({ ...activity, storedAtMs: row.stored_at_ms, day, place, hash, sealed: false })
    }
    await insert(rows, transaction, this.options.dialect)
    const state = { ...begun, key_id, entries: place, head_hash: hash }
    await putDay({ ...state, mac: genuine ? dayMac(secret, state) : WRONG_MAC }, transaction)
    return entries
  }

  /** The day that grows. It never goes back: where a clock does, or another core's is ahead, the newest day goes on. */
  private dayOn(today: string, newest: DayRow | undefined): UnsignedDay {
    // A day whose entries were removed because of their age is over, whatever the clock says.
    if (newest !== undefined && newest.day >= today && newest.purged_at_ms === null) return newest
    const day = newest === undefined || newest.day < today ? today : dayOf(endOfDay(newest.day))
    const previous = newest?.head_hash ?? CHAIN_BEGIN
    const [{ id }] = this.options.keys.chain
    return { day, key_id: id, previous_hash: previous, entries: 0, head_hash: previous, purged_at_ms: null }
  }
}

function isSame(one: Known, other: Known): boolean {
  return one.userId === other.userId && one.activityType === other.activityType
}

/** Until the end of the transaction nobody else changes the chain. On SQLite the transaction itself is the lock. */
export async function lockChain(transaction: Transaction<Database>, dialect: Dialect): Promise<void> {
  if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${CHAIN_LOCK})`.execute(transaction)
}

async function newestDay(transaction: Transaction<Database>): Promise<DayRow | undefined> {
  return await transaction.selectFrom('activity_days').selectAll().orderBy('day', 'desc').limit(1).executeTakeFirst()
}

/** The last place that is taken; what somebody has put there must stop nobody. */
async function lastPlaceOf(day: string, transaction: Transaction<Database>): Promise<number> {
  const { last } = await transaction
    .selectFrom('activity_logs')
    .select(({ fn }) => fn.max('place').as('last'))
    .where('day', '=', day)
    .executeTakeFirstOrThrow()
  return Number(last ?? 0)
}

async function insert(rows: readonly ActivityRow[], transaction: Transaction<Database>, dialect: Dialect) {
  const columns = sql.join(Object.keys(ACTIVITY_COLUMNS).map((column) => sql.ref(column)))
  const given = givenRows(dialect, ACTIVITY_COLUMNS, rows)
  await sql`insert into activity_logs (${columns}) select ${columns} from ${given}`.execute(transaction)
}

/** As it is now, whether it was there or not. */
export async function putDay(row: Insertable<ActivityDaysTable>, transaction: Transaction<Database>): Promise<void> {
  const { key_id, entries, head_hash, purged_at_ms, mac } = row
  await transaction
    .insertInto('activity_days')
    .values(row)
    .onConflict((conflict) => conflict.column('day').doUpdateSet({ key_id, entries, head_hash, purged_at_ms, mac }))
    .execute()
}
