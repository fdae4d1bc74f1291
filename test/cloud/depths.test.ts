import { Registry } from 'prom-client'
import { expect, it } from 'vitest'
import type { GroupPosition } from '../../cloud/bus/bus.ts'
import { ANALYTICS_GROUP, USER_ACTIVITY_GROUP } from '../../cloud/bus/catalogue.ts'
import { Depths } from '../../cloud/depths.ts'
import { depthMetrics } from '../../cloud/metrics-depths.ts'
import { BusbarError } from '../../shared/errors.ts'
import { silentLogger } from '../../shared/log.ts'
import { metricsOf } from '../../shared/metrics.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { until } from '../support/until.ts'

const position = (topic: string, partition: number, next: number, end: number): GroupPosition => {
  return { topic, partition, nextOffset: BigInt(next), endOffset: BigInt(end) }
}

it('what a group has not handled and what nobody replayed is counted by topic, and left out while it cannot be known', async () => {
  const clock = new ManualClock()
  let looks = 0
  let isAway = false
  const orAway = <T>(found: T): T => {
    if (isAway) throw new BusbarError('away', { code: 'BUS_UNAVAILABLE', retryable: true })
    return found
  }
  const depths = new Depths({
    bus: {
      positions: async (group, [topic = '']) => {
        // Of a group that takes nothing any more the offsets stay, and the others go on being counted.
        if (group === ANALYTICS_GROUP) throw new Error('the coordinator is away')
        return orAway([position(topic, 0, 10, 15), position(topic, 1, 7, 7), position(topic, 2, 9, 8)])
      },
    },
    deadLetters: {
      summary: async () => {
        looks++
        const count = { oldestMs: 0, newestMs: 0 }
        return orAway([
          { ...count, originalTopic: 'user-activity-logs', code: 'VALIDATION_ERROR', count: 5, replayed: 2 },
          { ...count, originalTopic: 'user-activity-logs', code: 'STORE_FAILED', count: 1, replayed: 0 },
          { ...count, originalTopic: 'of-somebody-else', code: 'X', count: 1, replayed: 0 },
        ])
      },
    },
    groups: [USER_ACTIVITY_GROUP, ANALYTICS_GROUP],
    clock,
    log: silentLogger,
  })
  const registry = new Registry()
  depthMetrics(metricsOf(registry, 'busbar_'), depths)
  const lines = async () => (await registry.metrics()).split('\n').filter((line) => /^busbar_.* /.test(line))
  await depths.start()
  clock.advance(0)
  await until(async () => (await lines()).length > 0)
  const found = await lines()
  expect(found).toContain('busbar_consumer_lag_records{group="user-activity-processor",topic="user-activity-logs"} 5')
  expect(found.filter((line) => line.includes(ANALYTICS_GROUP))).toEqual([])
  expect(found).toContain('busbar_dead_letters_open{topic="user-activity-logs"} 4')
  expect(found).toContain('busbar_dead_letters_open{topic="chat-messages"} 0')
  expect(found).toContain('busbar_dead_letters_open{topic="other"} 1')

  isAway = true
  clock.advance(15_000)
  await until(() => looks === 2)
  await until(async () => (await lines()).length === 0)
  await depths.stop()
  clock.advance(60_000)
  expect(looks).toBe(2)
})
