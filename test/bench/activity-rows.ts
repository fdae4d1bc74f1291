/** Rows of activity_logs inserted by nothing but a statement: what the processor's work is held against. */

import pg from 'pg'
import type { UserActivity } from '../../cloud/activity/activity.ts'

/** Of one statement. */
const ROWS = 1_000
/** Between the texts of a column. */
const SEPARATOR = '\u0001'
/** As long as a hash, and as what is encrypted of the metadata. */
const HASH = 'f'.repeat(64)
const SEALED = 's'.repeat(240)

/** Rows a second into a table with the columns, the keys and the indexes of activity_logs, over one connection. */
export async function insertedAlone(databaseUrl: string, activities: readonly UserActivity[]): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query('create table plain_activities (like activity_logs including all)')
    let elapsedMs = 0
    for (let begin = 0; begin < activities.length; begin += ROWS) {
      const columns = columnsOf(activities.slice(begin, begin + ROWS), begin)
      const beganMs = performance.now()
      await client.query(
        `insert into plain_activities
           (event_id, user_id, activity_type, at_ms, place, object_id, site_id, metadata,
            stored_at_ms, day, hash, version, outcome, object_type, sealed)
         select *, 1700000000000, '2026-01-31', '${HASH}', '1.0', 'SUCCESS', 'device', '${SEALED}'
         from unnest(string_to_array($1, chr(1)), string_to_array($2, chr(1)), string_to_array($3, chr(1)),
                     $4::bigint[], $5::bigint[], string_to_array($6, chr(1)), $7::bigint[], string_to_array($8, chr(1)))
         on conflict do nothing`,
        columns,
      )
      elapsedMs += performance.now() - beganMs
    }
    await client.query('drop table plain_activities')
    return (activities.length * 1_000) / elapsedMs
  } finally {
    await client.end()
  }
}

function columnsOf(rows: readonly UserActivity[], begin: number): string[] {
  const texts = (of: (row: UserActivity) => string): string => rows.map(of).join(SEPARATOR)
  const numbers = (of: (row: UserActivity, i: number) => number | undefined): string => `{${rows.map(of).join(',')}}`
  return [
    texts(({ eventId }) => eventId),
    texts(({ userId }) => userId),
    texts(({ activityType }) => activityType),
    numbers(({ timestamp }) => Date.parse(timestamp)),
    numbers((_, i) => begin + i + 1),
    texts(({ objectId }) => objectId ?? ''),
    numbers(({ siteId }) => siteId),
    texts(({ metadata: { sessionId, path } }) => JSON.stringify({ sessionId, path })),
  ]
}
