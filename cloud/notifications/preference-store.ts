/** Who wants to be told of what, in the database. */

import { type Kysely, sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import {
  changed,
  DEFAULT_PREFERENCES,
  type PreferenceChanges,
  type Preferences,
  readPreferences,
} from './preferences.ts'

/** Reading a text again costs more than comparing it; beyond this many users the oldest are read again. */
const PARSED_MAX = 10_000

export class PreferenceStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock
  /** By user, the text that they were read from beside them. */
  private readonly parsed = new Map<string, { readonly text: string; readonly preferences: Preferences }>()

  constructor(database: DatabaseHandle, clock: Clock) {
    this.database = database
    this.clock = clock
  }

  /** Those of a user who has not said anything are the default. */
  async get(userId: string): Promise<Preferences> {
    return (await this.ofUsers([userId], this.database.kysely)).get(userId) ?? DEFAULT_PREFERENCES
  }

  /**
   * Resolves with what they are then.
   * @param also joins in the transaction.
   * @throws InvalidRegistrationError for a time zone that does not exist.
   */
  async change(
    userId: string,
    changes: PreferenceChanges,
    also?: (preferences: Preferences, transaction: Transaction<Database>) => Promise<void>,
  ): Promise<Preferences> {
    const { database, clock } = this
    return await database.transaction(async (transaction) => {
      const nowMs = clock.wallMs()
      // The row first, so that two changes at once follow one another.
      await transaction
        .insertInto('notification_preferences')
        .values({ user_id: userId, preferences: '', created_at_ms: nowMs, updated_at_ms: nowMs })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      const { preferences: text } = await transaction
        .selectFrom('notification_preferences')
        .select('preferences')
        .where('user_id', '=', userId)
        .$if(database.dialect === 'postgres', (query) => query.forUpdate())
        .executeTakeFirstOrThrow()
      const preferences = changed(text === '' ? null : readPreferences(text), changes)
      await transaction
        .updateTable('notification_preferences')
        .set({ preferences: JSON.stringify(preferences), updated_at_ms: nowMs })
        .where('user_id', '=', userId)
        .execute()
      await also?.(preferences, transaction)
      return preferences
    })
  }

  /** Of those who have said something. */
  async ofUsers(userIds: readonly string[], kysely: Kysely<Database>): Promise<Map<string, Preferences>> {
    if (userIds.length === 0) return new Map()
    const rows = await kysely
      .selectFrom('notification_preferences')
      .select(['user_id', 'preferences'])
      .where(sql<boolean>`user_id in ${givenTexts(this.database.dialect, userIds)}`)
      .execute()
    return this.read(rows)
  }

  /** Of everybody who has said something. */
  async ofEverybody(kysely: Kysely<Database>): Promise<Map<string, Preferences>> {
    return this.read(await kysely.selectFrom('notification_preferences').select(['user_id', 'preferences']).execute())
  }

  /** Those whose id is after `afterUserId`, in the order of ids, `limit` at most. */
  async ofUsersAfter(afterUserId: string, limit: number, kysely: Kysely<Database>): Promise<Map<string, Preferences>> {
    const rows = await kysely
      .selectFrom('notification_preferences')
      .select(['user_id', 'preferences'])
      .where('user_id', '>', afterUserId)
      .orderBy('user_id')
      .limit(limit)
      .execute()
    return this.read(rows)
  }

  /** How many have said something. */
  async count(kysely: Kysely<Database>): Promise<number> {
    const query = kysely
      .selectFrom('notification_preferences')
      .select(({ fn }) => fn.countAll<number | string>().as('users'))
    return Number((await query.executeTakeFirst())?.users ?? 0)
  }

  private read(rows: readonly { readonly user_id: string; readonly preferences: string }[]): Map<string, Preferences> {
    return new Map(rows.map(({ user_id, preferences }) => [user_id, this.parse(user_id, preferences)]))
  }

  private parse(userId: string, text: string): Preferences {
    const known = this.parsed.get(userId)
    if (known?.text === text) return known.preferences
    const preferences = readPreferences(text)
    this.parsed.delete(userId)
    this.parsed.set(userId, { text, preferences })
    for (const oldest of this.parsed.keys()) {
      if (this.parsed.size <= PARSED_MAX) break
      this.parsed.delete(oldest)
    }
    return preferences
  }
}
