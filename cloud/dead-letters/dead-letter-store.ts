/** Dead letters in the database. */

import { type Insertable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database, DeadLettersTable } from '../database/schema.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import {
  beyond,
  type DeadLetter,
  type DeadLetterFilter,
  LISTED,
  matches,
  type Place,
  placeKey,
  readPlace,
  STORED,
  toDeadLetter,
} from './dead-letter-rows.ts'

/** Dead letters of one topic and code. */
export interface DeadLetterCount {
  readonly originalTopic: string
  readonly code: string
  readonly count: number
  readonly replayed: number
  readonly oldestMs: number
  readonly newestMs: number
}

/** Kinds that a summary tells apart; the rarest of more are left out. */
const KINDS_MAX = 500

const isKept = sql<number>`case when value is null then 0 else 1 end`.as('is_kept')

export class DeadLetterStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Those that are there already stay as they are; one of a topic that was since made anew gives way. */
  async insert(rows: readonly Insertable<DeadLettersTable>[]): Promise<number> {
    const inserted = await this.database.kysely
      .insertInto('dead_letters')
      .values(rows)
      .onConflict((conflict) =>
        conflict
          .column('id')
          .doUpdateSet(Object.fromEntries(STORED.map((column) => [column, sql.ref(`excluded.${column}`)])))
          .whereRef('dead_letters.timestamp_ms', '<>', 'excluded.timestamp_ms'),
      )
      .executeTakeFirst()
    return Number(inserted.numInsertedOrUpdatedRows ?? 0)
  }

  /** The newest first. */
  async list(request: PageRequest & DeadLetterFilter): Promise<Page<DeadLetter>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.listed().where(matches(request))
    if (after !== null) query = query.where(beyond(readPlace(after, request.cursor), 'older'))
    const rows = await query
      .orderBy('created_at_ms', 'desc')
      .orderBy('record_offset', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
      .execute()
    return toPage(rows.map(toDeadLetter), limit, placeKey, (letter) => letter)
  }

  /** The oldest first, so that what is replayed keeps its order. */
  async oldest(filter: DeadLetterFilter, after: Place | null, limit: number): Promise<DeadLetter[]> {
    let query = this.listed().where(matches(filter))
    if (after !== null) query = query.where(beyond(after, 'newer'))
    const ordered = query.orderBy('created_at_ms').orderBy('record_offset').orderBy('id').limit(limit)
    return (await ordered.execute()).map(toDeadLetter)
  }

  async count(filter: DeadLetterFilter, after: Place | null): Promise<number> {
    let query = this.database.kysely
      .selectFrom('dead_letters')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where(matches(filter))
    if (after !== null) query = query.where(beyond(after, 'newer'))
    return Number((await query.executeTakeFirstOrThrow()).count)
  }

  /** Those of `ids` that there are, in no particular order. */
  async find(ids: readonly string[]): Promise<DeadLetter[]> {
    const given = givenTexts(this.database.dialect, ids)
    const rows = await this.listed().where('part', '=', 1).where(sql<boolean>`id in ${given}`).execute()
    return rows.map(toDeadLetter)
  }

  /** By id, the values of a dead letter and of the further parts that are there, by part. */
  async values(ids: readonly string[]): Promise<ReadonlyMap<string, ReadonlyMap<number, Buffer | null>>> {
    const { dialect, kysely } = this.database
    const given = givenTexts(dialect, ids)
    const { rows } = await sql<{ readonly id: string; readonly part: number; readonly value: Buffer | null }>`
      select id, part, value from dead_letters where id in ${given} and set_id is null
      union all
      select first.id, parts.part, parts.value
      from dead_letters as first join dead_letters as parts on parts.set_id = first.set_id
      where first.id in ${given}`.execute(kysely)
    const byId = Map.groupBy(rows, ({ id }) => id)
    return new Map([...byId].map(([id, parts]) => [id, new Map(parts.map(({ part, value }) => [part, value]))]))
  }

  async summary(): Promise<DeadLetterCount[]> {
    const { rows } = await sql<{
      readonly original_topic: string
      readonly code: string
      readonly count: number
      readonly replayed: number
      readonly oldest: number
      readonly newest: number
    }>`
      select original_topic, code, count(*) as count, count(replayed_at_ms) as replayed,
        min(created_at_ms) as oldest, max(created_at_ms) as newest
      from dead_letters where part = 1
      group by original_topic, code
      order by count(*) desc, original_topic, code limit ${KINDS_MAX}`.execute(this.database.kysely)
    return rows.map((row) => ({
      originalTopic: row.original_topic,
      code: row.code,
      count: Number(row.count),
      replayed: Number(row.replayed),
      oldestMs: Number(row.oldest),
      newestMs: Number(row.newest),
    }))
  }

  /**
   * Takes those of `ids` in hand that no other replay has: of several at once one gets a dead letter.
   * @param again takes those as well that were replayed before.
   */
  async claim(
    ids: readonly string[],
    { claim, nowMs, untilMs, again }: { claim: string; nowMs: number; untilMs: number; again: boolean },
  ): Promise<ReadonlySet<string>> {
    const { dialect, kysely } = this.database
    // Rows that somebody has locked are being claimed: whoever comes second does not wait to be told so.
    const locked = dialect === 'postgres' ? sql`order by id for update skip locked` : sql``
    const fresh = again ? sql`1 = 1` : sql`replayed_at_ms is null`
    const { rows } = await sql<{ readonly id: string }>`
      update dead_letters set claim = ${claim}, claimed_until_ms = ${untilMs}
      where id in (
        select id from dead_letters
        where id in ${givenTexts(dialect, ids)} and ${fresh}
          and (claimed_until_ms is null or claimed_until_ms < ${nowMs}) ${locked})
      returning id`.execute(kysely)
    return new Set(rows.map(({ id }) => id))
  }

  /** Notes what was replayed under a claim, in the caller's transaction. */
  async markReplayed(
    ids: readonly string[],
    claim: string,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await sql`
      update dead_letters set replayed_at_ms = ${nowMs}, replays = replays + 1, claim = null, claimed_until_ms = null
      where id in ${givenTexts(this.database.dialect, ids)} and claim = ${claim}`.execute(transaction)
  }

  /** Lets go of what was claimed and not replayed. */
  async release(ids: readonly string[], claim: string): Promise<void> {
    const { dialect, kysely } = this.database
    await sql`
      update dead_letters set claim = null, claimed_until_ms = null
      where id in ${givenTexts(dialect, ids)} and claim = ${claim}`.execute(kysely)
  }

  /** How many rows there are, parts included. */
  async size(): Promise<number> {
    const { count } = await this.database.kysely
      .selectFrom('dead_letters')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    return Number(count)
  }

  /**
   * Removes the oldest ones, at least one if there is any, up to `rowsMax` of them and about `bytesMax` of values.
   * @param beforeMs only those that the bus took in before; null for whichever.
   */
  async removeOldest(beforeMs: number | null, rowsMax: number, bytesMax: number): Promise<number> {
    const { dialect, kysely } = this.database
    let query = kysely
      .selectFrom('dead_letters')
      .select(['id', 'value_bytes'])
      .orderBy('created_at_ms')
      .orderBy('record_offset')
      .orderBy('id')
      .limit(rowsMax)
    if (beforeMs !== null) query = query.where('created_at_ms', '<', beforeMs)
    let bytes = 0
    const ids: string[] = []
    for (const row of await query.execute()) {
      bytes += row.value_bytes
      if (ids.length > 0 && bytes > bytesMax) break
      ids.push(row.id)
    }
    if (ids.length === 0) return 0
    await sql`delete from dead_letters where id in ${givenTexts(dialect, ids)}`.execute(kysely)
    return ids.length
  }

  private listed() {
    return this.database.kysely.selectFrom('dead_letters').select([...LISTED, isKept])
  }
}
