/** Bursts in the database: each row is one core's until its transaction ends. */

import { type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { NotificationBurstsTable } from '../database/schema-analytics.ts'
import type { Burst, Held } from './burst.ts'

type BurstRow = Selectable<NotificationBurstsTable>

export class BurstStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** Takes note of these notices; resolves with those that were not known. */
  async admit(keys: readonly string[], nowMs: number, transaction: Transaction<Database>): Promise<Set<string>> {
    const rows = [...new Set(keys)].toSorted().map((notice_key) => ({ notice_key }))
    // One order for all cores, so that two transactions cannot wait for each other's rows. SQLite needs the `where`.
    const admitted = await sql<{ notice_key: string }>`
      insert into notification_burst_notices (notice_key, created_at_ms)
      select notice_key, cast(${nowMs} as bigint) from ${givenRows(this.database.dialect, { notice_key: 'text' }, rows)}
      where true order by notice_key
      on conflict (notice_key) do nothing
      returning notice_key`.execute(transaction)
    return new Set(admitted.rows.map((row) => row.notice_key))
  }

  /** The bursts of these keys, locked, those that did not exist as well, which are null. */
  async lock(keys: readonly string[], transaction: Transaction<Database>): Promise<Map<string, Burst | null>> {
    const rows = [...new Set(keys)].toSorted().map((burst_key) => ({ burst_key }))
    // An update that changes nothing, unlike an insert that does nothing, waits for whoever is ending the burst.
    const locked = await sql<BurstRow>`
      insert into notification_bursts (burst_key, started_at_ms, ends_at_ms, told, held)
      select burst_key, 0, 0, 0, '' from ${givenRows(this.database.dialect, { burst_key: 'text' }, rows)}
      where true order by burst_key
      on conflict (burst_key) do update set burst_key = excluded.burst_key
      returning burst_key, started_at_ms, ends_at_ms, told, held`.execute(transaction)
    return new Map(locked.rows.map((row) => [row.burst_key, row.held === '' ? null : burstOf(row)]))
  }

  async save(bursts: ReadonlyMap<string, Burst>, transaction: Transaction<Database>): Promise<void> {
    for (const [key, { startedAtMs, endsAtMs, told, held }] of bursts) {
      await transaction
        .updateTable('notification_bursts')
        .set({ started_at_ms: startedAtMs, ends_at_ms: endsAtMs, told, held: JSON.stringify(held) })
        .where('burst_key', '=', key)
        .execute()
    }
  }

  /** Up to `limit` bursts whose window has ended, locked; those that somebody else has are left to them. */
  async lockEnded(
    nowMs: number,
    windowMs: number,
    limit: number,
    transaction: Transaction<Database>,
  ): Promise<Map<string, Burst>> {
    const rows = await transaction
      .selectFrom('notification_bursts')
      .selectAll()
      // One that seems to begin long after now was opened before the clock was set back.
      .where((e) => e.or([e('ends_at_ms', '<=', nowMs), e('started_at_ms', '>', nowMs + windowMs)]))
      .orderBy('burst_key')
      .limit(limit)
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate().skipLocked())
      .execute()
    return new Map(rows.map((row) => [row.burst_key, burstOf(row)]))
  }

  async end(keys: readonly string[], transaction: Transaction<Database>): Promise<void> {
    await transaction
      .deleteFrom('notification_bursts')
      .where(sql<boolean>`burst_key in ${givenTexts(this.database.dialect, keys)}`)
      .execute()
  }
}

function burstOf(row: BurstRow): Burst {
  const held = row.held === '' ? null : (JSON.parse(row.held) as Held | null)
  return { startedAtMs: row.started_at_ms, endsAtMs: row.ends_at_ms, told: row.told, held }
}
