import { expect, test } from 'vitest'
import { ActivityUpkeep } from '../../../cloud/activity/activity.ts'
import { purgeEventId } from '../../../cloud/activity/chain.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { type Logger, silentLogger } from '../../../shared/log.ts'
import {
  type ActivityCore,
  activityCore,
  activityKeys,
  checkedActivity,
  found,
  NEW_KEY,
  OLD_KEY,
} from '../../support/activity-log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { KeptActivities } from '../../support/recorded.ts'

const DAY_MS = 86_400_000
const BEGIN_MS = Date.UTC(2026, 0, 1, 12)

await describeOnEveryDatabase('the upkeep of the activity log', (databases) => {
  const setUp = async (daysWritten: number) => {
    const database = await databases.open()
    const clock = new ManualClock(BEGIN_MS)
    const core = activityCore(database, clock)
    for (let day = 0; day < daysWritten; day++) {
      await core.append([checkedActivity(`evt_${day}_1`), checkedActivity(`evt_${day}_2`)])
      clock.advance(DAY_MS)
    }
    return { database, clock, core }
  }
  const upkeepOf = (
    { database, clock, core }: { database: DatabaseHandle; clock: ManualClock; core: ActivityCore },
    options: { readonly keys?: ActivityCore['keys']; readonly log?: Logger } = {},
  ) => {
    const activities = new KeptActivities()
    const upkeep = new ActivityUpkeep({
      database,
      keys: core.keys,
      settings: { retentionDays: 2 },
      activities,
      coreId: 'core-1',
      clock,
      log: silentLogger,
      ...options,
    })
    return { upkeep, recorded: activities.entries, run: () => upkeep.run(new AbortController().signal) }
  }
  const daysLeft = async ({ kysely }: DatabaseHandle) => {
    const rows = await kysely.selectFrom('activity_logs').select('day').distinct().orderBy('day').execute()
    return rows.map(({ day }) => day)
  }

  test('days that are too old go whole, are recorded, and stay in the chain', async () => {
    const log = await setUp(5)
    const { upkeep, recorded, run } = upkeepOf(log)
    await run()
    await run()
    expect(await daysLeft(log.database)).toEqual(['2026-01-04', '2026-01-05'])
    expect(upkeep.purged).toBe(6)
    expect(recorded.map(({ userId, activityType, objectId }) => `${userId} ${activityType} ${objectId}`)).toEqual(
      ['2026-01-01', '2026-01-02', '2026-01-03'].map((day) => `system activity_log_purged ${day}`),
    )
    // An id that nobody else can tell before: who records something under it first would keep this out.
    const eventId = expect.stringMatching(/^evt_purged_20260101_[0-9a-f]{24}$/)
    expect(recorded[0]).toMatchObject({ eventId, metadata: { entries: 2 } })
    expect(recorded[0]?.eventId).not.toBe(purgeEventId(Buffer.alloc(32), '2026-01-01'))
    const report = await log.core.verify()
    expect(report).toMatchObject({ findings: [], entries: 4 })
    expect(report.days.map(({ purgedAt }) => purgedAt !== null)).toEqual([true, true, true, false, false])
  })

  test('a clock that is years ahead removes no more than what the newest entries are too new for', async () => {
    const log = await setUp(3)
    log.clock.stepWall(1_000 * DAY_MS)
    await upkeepOf(log).run()
    expect(await daysLeft(log.database)).toEqual(['2026-01-03'])
    expect(found(await log.core.verify())).toEqual([])
  })

  test('a day that somebody has changed is known as changed after it was purged, and is complained of', async () => {
    const log = await setUp(4)
    const update = log.database.kysely.updateTable('activity_days').set({ entries: 1 })
    await update.where('day', '=', '2026-01-01').execute()
    const complaints: unknown[] = []
    const { run } = upkeepOf(log, {
      log: { ...silentLogger, error: (fields: unknown) => void complaints.push(fields) } as Logger,
    })
    await run()
    expect(await daysLeft(log.database)).toEqual(['2026-01-03', '2026-01-04'])
    expect(found(await log.core.verify())).toEqual(['DAY_CHANGED 2026-01-01'])
    expect(complaints).toEqual([expect.objectContaining({ day: '2026-01-01', kind: 'DAY_CHANGED' })])
  })

  test('a purged day is vouched for with the new key, so that the old one can be put away', async () => {
    const log = await setUp(5)
    await upkeepOf(log).run()
    const both = activityKeys(NEW_KEY, OLD_KEY)
    await upkeepOf(log, { keys: both }).run()
    const alone = activityCore(log.database, log.clock, activityKeys(NEW_KEY))
    const report = await alone.verify()
    expect(report.findings).toEqual([])
    expect(report.days.map(({ unable }) => unable === null)).toEqual([true, true, true, false, false])
    expect(activityKeys(OLD_KEY).chain).toHaveLength(1)
  })

  test('the head of a day goes into the log of the program once it is over', async () => {
    const log = await setUp(2)
    const heads: unknown[] = []
    const { run } = upkeepOf(log, {
      log: { ...silentLogger, info: (fields: unknown) => void heads.push(fields) } as Logger,
    })
    await run()
    await run()
    await log.core.append([checkedActivity('evt_new')])
    await run()
    const { days } = await log.core.verify()
    expect(heads).toEqual(
      days.slice(0, 2).map(({ day, entries, headHash, keyId }) => ({ day, entries, headHash, keyId })),
    )
  })
})
