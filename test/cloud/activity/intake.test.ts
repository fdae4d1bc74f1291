import { expect, test } from 'vitest'
import { ActivityIntake } from '../../../cloud/activity/activity.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { TYPES } from '../../support/activity-log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

test('what the bus holds of requests that were answered meanwhile is bounded', async () => {
  const clock = new ManualClock()
  let end: (error: Error) => void = () => undefined
  const held = new Promise<void>((_, reject) => {
    end = reject
  })
  let publishes = 0
  const intake = new ActivityIntake({
    bus: {
      publish: () => {
        publishes++
        return held
      },
    },
    types: () => TYPES,
    settings: { batchMax: 5, ownPerMinute: 100, metadataBytesMax: 1_024, futureToleranceMs: 0 },
    clock,
    random: systemRandom,
    log: silentLogger,
  })
  const send = () =>
    intake.take([{ userId: 'ann', activityType: 'login' }], { correlationId: 'c', retryKey: null }).catch((e) => e.code)
  for (let round = 0; round < 3; round++) {
    const answers = Array.from({ length: 100 }, send)
    clock.advance(10_000)
    const expected = round < 2 ? 'BUS_UNAVAILABLE' : 'ACTIVITIES_BUSY'
    expect(new Set(await Promise.all(answers))).toEqual(new Set([expected]))
  }
  expect(publishes).toBe(200)
  end(new Error('given up'))
  await held.catch(() => undefined)
  expect(intake.stats()).toMatchObject({ waiting: 0, failed: 300 })
})
