/** What a database holds of the numbered activities, whichever database it is. */

import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { silentLogger as log } from '../../shared/log.ts'
import { NUMBERED_TYPE } from './activity-values.ts'
import { until } from './until.ts'

export interface StoredActivities {
  count(): Promise<number>
  /** Numbers by user, in the order of the chain. */
  numbers(): Promise<ReadonlyMap<string, readonly number[]>>
  /** Counts by user, as the windows have them. */
  windowed(): Promise<ReadonlyMap<string, number>>
  /** Resolves when at least as many are stored. */
  reaches(count: number, timeoutMs?: number): Promise<number>
  /** Names of the requests that entries of this type come from. */
  requestsOf(activityType: string): Promise<readonly (string | null)[]>
  /** What is to be published, or was, and has this text in it. */
  outboxRowsWith(text: string): Promise<number>
  row(eventId: string): Promise<Readonly<Record<string, unknown>> | undefined>
  close(): Promise<void>
}

export async function storedActivities(url: string): Promise<StoredActivities> {
  const database = openDatabase({ url, clock, log })
  await database.start()
  const { kysely } = database
  const count = async (): Promise<number> => {
    const { count } = await kysely
      .selectFrom('activity_logs')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('activity_type', '=', NUMBERED_TYPE)
      .executeTakeFirstOrThrow()
    return Number(count)
  }
  return {
    count,
    async numbers() {
      const rows = await kysely
        .selectFrom('activity_logs')
        .select(['user_id', 'metadata'])
        .where('activity_type', '=', NUMBERED_TYPE)
        .orderBy('day')
        .orderBy('place')
        .execute()
      const numbers = new Map<string, number[]>()
      for (const { user_id, metadata } of rows) {
        const of = numbers.get(user_id) ?? []
        numbers.set(user_id, of)
        of.push(JSON.parse(metadata).n)
      }
      return numbers
    },
    async windowed() {
      const rows = await kysely
        .selectFrom('activity_windows')
        .select(['user_id', 'succeeded', 'failed', 'refused'])
        .where('activity_type', '=', NUMBERED_TYPE)
        .execute()
      const sums = new Map<string, number>()
      for (const { user_id, succeeded, failed, refused } of rows) {
        sums.set(user_id, (sums.get(user_id) ?? 0) + Number(succeeded) + Number(failed) + Number(refused))
      }
      return sums
    },
    reaches(wanted, timeoutMs = 60_000) {
      // The database may be away for a while.
      const look = () =>
        count().then(
          (found) => (found >= wanted ? found : null),
          () => null,
        )
      return until(look, { timeoutMs, pollMs: 20, what: `${wanted} activities are stored` })
    },
    async requestsOf(activityType) {
      const rows = await kysely
        .selectFrom('activity_logs')
        .select('correlation_id')
        .where('activity_type', '=', activityType)
        .where('outcome', '=', 'SUCCESS')
        .execute()
      return rows.map(({ correlation_id }) => correlation_id)
    },
    async outboxRowsWith(text) {
      const rows = await kysely.selectFrom('outbox').select('id').where('value', 'like', `%${text}%`).execute()
      return rows.length
    },
    row: (eventId) => kysely.selectFrom('activity_logs').selectAll().where('event_id', '=', eventId).executeTakeFirst(),
    close: () => database.stop(),
  }
}

/** 0, 1, 2 and so on, as many as were sent: each once, in order. */
export function consecutive(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}
