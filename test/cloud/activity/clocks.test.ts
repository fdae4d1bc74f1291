/** What the activity log does when clocks differ, or were wrong for a while. */

import { expect, it } from 'vitest'
import { ActivityUpkeep } from '../../../cloud/activity/activity.ts'
import { silentLogger } from '../../../shared/log.ts'
import { activityCore, checkedActivity } from '../../support/activity-log.ts'
import { clockAt, processorOver } from '../../support/activity-processor.ts'
import { activityValue } from '../../support/activity-values.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const NOON = Date.UTC(2026, 0, 31, 12)
const MINUTE = 60_000
const DAY = 86_400_000
const YEAR = 366 * DAY

await describeOnEveryDatabase('the activity log', (databases) => {
  const start = async (options: Parameters<typeof processorOver>[2] = {}) => {
    const at = { ms: NOON }
    const core = await processorOver(await databases.open(), clockAt(at), options)
    let n = 0
    const made = (atMs: number, activityType = 'page_view') =>
      activityValue('ann', ++n, { activityType, timestamp: new Date(atMs).toISOString() })
    const patterns = async () => (await core.takeOutbox()).flatMap(({ pattern }) => pattern ?? [])
    return { ...core, at, made, patterns }
  }

  it('stores what a core took in whose clock is a little ahead', async () => {
    const { deliver, made, processor } = await start()
    // The processor under test takes five minutes.
    await deliver(made(NOON + 5 * MINUTE + 1_000))
    await deliver(made(NOON + 7 * MINUTE))
    expect(processor.stats()).toMatchObject({ stored: 1, deadLettered: { VALIDATION_ERROR: 1 } })
  })

  it('tells of suspicious patterns after a clock was far ahead and told of one', async () => {
    const { deliver, made, at, patterns } = await start({ suspicion: { failedLogins: 1 } })
    at.ms = NOON + YEAR
    await deliver(made(at.ms, 'login_failed'))
    expect(await patterns()).toEqual(['FAILED_LOGINS'])
    at.ms = NOON
    await deliver(made(at.ms, 'login_failed'))
    await deliver(made(at.ms, 'login_failed'))
    expect(await patterns()).toEqual(['FAILED_LOGINS'])
  })

  it('finds a burst in a batch that goes on after it, such as after an outage', async () => {
    const { deliver, made, patterns } = await start({ suspicion: { commands: 3, commandsMs: 10_000 } })
    const seconds = [0, 1, 2, 30, 50]
    await deliver(...seconds.map((second) => made(NOON + second * 1_000, 'command')))
    expect(await patterns()).toEqual(['COMMAND_BURST'])
  })

  it('is not removed by a clock that is a year ahead, although there are entries of that year by then', async () => {
    const database = await databases.open()
    const clock = new ManualClock(NOON)
    const core = activityCore(database, clock)
    const upkeep = new ActivityUpkeep({
      ...{ database, clock, keys: core.keys, coreId: 'core-1', log: silentLogger },
      settings: { retentionDays: 5 },
      activities: { record: async () => undefined },
    })
    let written = 0
    const daysLeft = async (days: number) => {
      for (let day = 0; day < days; day++) {
        await core.append([checkedActivity(`evt_${++written}`)])
        clock.advance(DAY)
      }
      await upkeep.run(new AbortController().signal)
      const rows = await database.kysely.selectFrom('activity_logs').select('day').orderBy('day').execute()
      return rows.map(({ day }) => day)
    }
    const before = ['2026-01-31', '2026-02-01', '2026-02-02']
    expect(await daysLeft(3)).toEqual(before)
    clock.stepWall(YEAR)
    expect(await daysLeft(6)).toEqual(expect.arrayContaining(before))
    // A year that was silent goes in the end.
    expect(await daysLeft(2)).not.toEqual(expect.arrayContaining(before.slice(0, 1)))
  })
})
