import { expect, test } from 'vitest'
import { systemClock } from '../../../shared/clock.ts'
import { nextTurn } from '../../../shared/waiting.ts'
import { activityCore, checkedActivity } from '../../support/activity-log.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

await describeOnEveryDatabase('a large batch of activities', (databases) => {
  test('leaves turns to everything else while it is sealed and hashed', async () => {
    const database = await databases.open()
    const core = activityCore(database, systemClock)
    let [turns, isOver] = [0, false]
    const append = core.append(Array.from({ length: 2_500 }, (_, i) => checkedActivity(`evt_${i}`)))
    const counting = (async () => {
      for (; !isOver; turns++) await nextTurn()
    })()
    await append
    isOver = true
    await counting
    expect(turns).toBeGreaterThan(3)
  })
})
