import { expect, it } from 'vitest'
import { purgeHabits } from '../../../cloud/activity/habits.ts'
import { ANY_HOUR } from '../../../cloud/activity/usual-hours.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const NOON = Date.UTC(2026, 0, 31, 12)

await describeOnEveryDatabase('what is known of users’ habits', (databases) => {
  it('goes with whoever has not logged in for long, and is kept of others, seldom as it may have been', async () => {
    const database = await databases.open()
    const lastDays = { ann: '2025-10-01', bob: '2026-01-30' }
    const rows = Object.entries(lastDays).flatMap(([user_id, last_day]) => [
      { user_id, hour: ANY_HOUR, days: 3, last_day },
      { user_id, hour: 7, days: 1, last_day: '2025-09-01' },
    ])
    await database.kysely.insertInto('activity_hours').values(rows).execute()
    await purgeHabits(NOON, 90, database)
    const left = await database.kysely.selectFrom('activity_hours').select('user_id').execute()
    expect(left).toEqual([{ user_id: 'bob' }, { user_id: 'bob' }])
  })
})
