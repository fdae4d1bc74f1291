/** Stretches of the tables by time in the database: their partitions on PostgreSQL, and on both when they were written to. */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { partitionName, type TimeStretch } from './time-stretches.ts'

/** Key of the advisory lock under which partitions are made and dropped; any constant of our own would do. */
const ADVISORY_LOCK = 0x62757370
/** Of one transaction: each one costs PostgreSQL some locks, of which there are thousands, and more time than the one before it. */
const MADE_AT_ONCE = 50
/** How long a drop may wait for those who read, milliseconds; writers wait behind it. */
const DROP_LOCK_WAIT_MS = 500

export class PartitionStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /**
   * Sees to it that the stretches are there, and notes that they are written to at `nowMs`. @param doubtful asks PostgreSQL
   * for the partitions themselves, where somebody may have dropped one behind our back.
   */
  async ensure(stretches: readonly TimeStretch[], nowMs: number, doubtful = false): Promise<void> {
    const known = doubtful ? new Set() : await note(this.database.kysely, stretches, nowMs)
    const missing = stretches.filter((stretch) => !known.has(keyOf(stretch)))
    // A device with a wild clock may name hundreds of days at once.
    for (let start = 0; start < missing.length; start += MADE_AT_ONCE) {
      await this.database.transaction(async (transaction) => {
        await this.lock(transaction)
        for (const stretch of missing.slice(start, start + MADE_AT_ONCE)) await this.make(stretch, nowMs, transaction)
      })
    }
  }

  async count(): Promise<number> {
    const query = this.database.kysely.selectFrom('time_partitions').select((e) => e.fn.countAll().as('partitions'))
    return Number((await query.executeTakeFirstOrThrow()).partitions)
  }

  /** Stretches of a table that end by `endedByMs` and have not been written to since `quietSinceMs`, the oldest first. */
  async old(table: TimeStretch['table'], endedByMs: number, quietSinceMs: number): Promise<TimeStretch[]> {
    const rows = await this.database.kysely
      .selectFrom('time_partitions')
      .select(['from_ms', 'to_ms'])
      .where('table_name', '=', table)
      .where('to_ms', '<=', endedByMs)
      .where('written_at_ms', '<=', quietSinceMs)
      .orderBy('from_ms')
      .execute()
    return rows.map((row) => ({ table, fromMs: row.from_ms, toMs: row.to_ms }))
  }

  /** The end of the newest stretch of a table; null when it has none. */
  async newestMs(table: TimeStretch['table']): Promise<number | null> {
    const row = await this.database.kysely
      .selectFrom('time_partitions')
      .select(({ fn }) => fn.max('to_ms').as('newest_ms'))
      .where('table_name', '=', table)
      .executeTakeFirst()
    return row?.newest_ms ?? null
  }

  /**
   * Forgets a stretch unless it was written to after `quietSinceMs`; on PostgreSQL its rows go with it, on SQLite they are
   * deleted before. Should readers hold it for long it fails as contended: better than to let every writer wait for them.
   */
  async drop(stretch: TimeStretch, quietSinceMs: number): Promise<boolean> {
    return await this.database.transaction(async (transaction) => {
      await this.lock(transaction)
      const { numDeletedRows } = await transaction
        .deleteFrom('time_partitions')
        .where('table_name', '=', stretch.table)
        .where('from_ms', '=', stretch.fromMs)
        .where('written_at_ms', '<=', quietSinceMs)
        .executeTakeFirst()
      if (numDeletedRows === 0n) return false
      if (this.database.dialect === 'postgres') {
        await sql`select set_config('lock_timeout', ${String(DROP_LOCK_WAIT_MS)}, true)`.execute(transaction)
        await sql`drop table if exists ${sql.table(partitionName(stretch))}`.execute(transaction)
      }
      return true
    })
  }

  /** For SQLite: deletes up to `rowsMax` rows or so of the first device from `deviceId` on; null when there is none left. */
  async deleteSome(
    { table, fromMs, toMs }: TimeStretch,
    deviceId: number,
    rowsMax: number,
    quietSinceMs: number,
  ): Promise<number | null> {
    const { kysely } = this.database
    const time = sql.ref(table === 'readings' ? 'at_ms' : 'bucket_ms')
    const source = sql.table(table)
    // Along the primary key: one seek finds the device, one its oldest rows.
    const next = await sql<{ device_id: number }>`
      select device_id from ${source} where device_id >= ${deviceId} order by device_id limit 1`.execute(kysely)
    const found = next.rows[0]?.device_id
    if (found === undefined) return null
    const cut = await sql<{ at: number }>`
      select ${time} as at from ${source} where device_id = ${found} and ${time} >= ${fromMs} and ${time} < ${toMs}
      order by ${time} limit 1 offset ${rowsMax}`.execute(kysely)
    const last = cut.rows[0]?.at
    // Whoever writes into it has noted so before, which this statement sees.
    await sql`
      delete from ${source} where device_id = ${found} and ${time} >= ${fromMs}
        and ${last === undefined ? sql`${time} < ${toMs}` : sql`${time} <= ${last}`}
        and exists (select 1 from time_partitions where table_name = ${table} and from_ms = ${fromMs}
          and written_at_ms <= ${quietSinceMs})`.execute(kysely)
    return last === undefined ? found + 1 : found
  }

  private async lock(transaction: Transaction<Database>): Promise<void> {
    if (this.database.dialect === 'postgres') {
      await sql`select pg_advisory_xact_lock(${ADVISORY_LOCK})`.execute(transaction)
    }
  }

  /** Under the lock; another core may have made it in the meantime. */
  private async make(stretch: TimeStretch, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const { table, fromMs, toMs } = stretch
    if (this.database.dialect === 'postgres') await attachPartition(stretch, transaction)
    await transaction
      .insertInto('time_partitions')
      .values({ table_name: table, from_ms: fromMs, to_ms: toMs, written_at_ms: nowMs })
      .onConflict((conflict) => conflict.columns(['table_name', 'from_ms']).doUpdateSet({ written_at_ms: nowMs }))
      .execute()
  }
}

/** Made beside the table and attached: creating it as a partition would lock out everyone who writes to the table. */
async function attachPartition(stretch: TimeStretch, transaction: Transaction<Database>): Promise<void> {
  const { table, fromMs, toMs } = stretch
  const [name, parent] = [partitionName(stretch), sql.table(table)]
  const attached = await sql`select 1 from pg_inherits where inhrelid = to_regclass(${name})`.execute(transaction)
  if (attached.rows.length > 0) return
  // Rows of roll-ups are replaced often: with room beside them their index need not be touched.
  const fillFactor = sql.raw(table === 'readings' ? '100' : '60')
  await sql`
    create table if not exists ${sql.table(name)} (like ${parent} including all)
    with (fillfactor = ${fillFactor})`.execute(transaction)
  await sql`
    alter table ${parent} attach partition ${sql.table(name)}
    for values from (${sql.lit(fromMs)}) to (${sql.lit(toMs)})`.execute(transaction)
}

/** Gives those that are there. */
async function note(
  kysely: Kysely<Database>,
  stretches: readonly TimeStretch[],
  nowMs: number,
): Promise<ReadonlySet<string>> {
  const known = new Set<string>()
  for (const { table, fromMs } of stretches) {
    const { numUpdatedRows } = await kysely
      .updateTable('time_partitions')
      .set({ written_at_ms: nowMs })
      .where('table_name', '=', table)
      .where('from_ms', '=', fromMs)
      .executeTakeFirst()
    if (numUpdatedRows > 0n) known.add(`${table}/${fromMs}`)
  }
  return known
}

export function keyOf({ table, fromMs }: TimeStretch): string {
  return `${table}/${fromMs}`
}
