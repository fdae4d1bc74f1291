/** What is told to many, in the database: a row for each telling, until everybody was told. */

import { sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { digest, type Telling } from './notification.ts'

export interface StartedFanOut {
  readonly id: string
  readonly telling: Telling
  /** Everybody up to this one was told. */
  readonly afterUserId: string
}

export class FanOutStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /** The same one twice is one. */
  async add(tellings: readonly Telling[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const rows = tellings.map((telling) => {
      const text = JSON.stringify(telling)
      return { id: digest(text), telling: text, after_user_id: '', created_at_ms: nowMs }
    })
    // One order for all cores. The whole text of a telling names it: the same key may come with other words.
    rows.sort((a, b) => (a.id < b.id ? -1 : 1))
    const columns = { id: 'text', telling: 'text', after_user_id: 'text', created_at_ms: 'bigint' } as const
    await sql`
      insert into notification_fan_outs (id, telling, after_user_id, created_at_ms)
      select id, telling, after_user_id, created_at_ms from ${givenRows(this.database.dialect, columns, rows)}
      where true on conflict (id) do nothing`.execute(transaction)
  }

  /** One that nobody else has in hand, the oldest first, locked; null when there is none. */
  async next(transaction: Transaction<Database>): Promise<StartedFanOut | null> {
    const row = await transaction
      .selectFrom('notification_fan_outs')
      .select(['id', 'telling', 'after_user_id'])
      .orderBy('created_at_ms')
      .orderBy('id')
      .limit(1)
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate().skipLocked())
      .executeTakeFirst()
    if (row === undefined) return null
    return { id: row.id, telling: JSON.parse(row.telling) as Telling, afterUserId: row.after_user_id }
  }

  async advance(id: string, afterUserId: string, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .updateTable('notification_fan_outs')
      .set({ after_user_id: afterUserId })
      .where('id', '=', id)
      .execute()
  }

  async end(id: string, transaction: Transaction<Database>): Promise<void> {
    await transaction.deleteFrom('notification_fan_outs').where('id', '=', id).execute()
  }
}
