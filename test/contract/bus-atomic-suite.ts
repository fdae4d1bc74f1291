/** What every bus does with records that are published as one. */

import { describe, expect, test } from 'vitest'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../cloud/bus/catalogue.ts'
import { until } from '../support/until.ts'
import { Sink, uniqueTopic } from './bus-fixtures.ts'

/** Five users, whose records go to all three partitions. */
function entries(batch: number, users = 5): BusRecord[] {
  return Array.from({ length: users * 2 }, (_, i) => ({ key: `user-${i % users}`, value: `${batch}/${i}` }))
}

export function busAtomicSuite(open: (topics: TopicSpec[]) => Promise<Bus>): void {
  describe('records that are published as one', () => {
    test('are there, in order within their keys, and a group that has them all is behind by nothing', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'atomic', topics: [spec.topic], onBatch: sink.onBatch })
      const atomic = { atomic: true }
      await bus.publish(spec.topic, entries(0), atomic)
      // Between two that are, one that is not; then several at once, and some of one partition.
      await bus.publish(spec.topic, entries(1))
      await bus.publish(spec.topic, entries(2), atomic)
      await Promise.all([3, 4, 5].map((batch) => bus.publish(spec.topic, entries(batch), atomic)))
      await bus.publish(spec.topic, entries(6, 1), atomic)
      await bus.publish(spec.topic, [{ key: 'user-0', value: '7/0' }], atomic)
      const expected = [...Array.from({ length: 6 }, (_, batch) => entries(batch)).flat(), ...entries(6, 1)]
      await until(() => sink.records.length >= expected.length + 1)
      expect(sink.values().sort()).toEqual([...expected.map(({ value }) => String(value)), '7/0'].sort())
      for (let user = 0; user < 5; user++) {
        const places = sink.values(`user-${user}`)
        const ofBatch = (batch: number) => places.filter((place) => place.startsWith(`${batch}/`))
        expect([...ofBatch(0), ...ofBatch(1), ...ofBatch(2)]).toEqual(places.slice(0, 6))
      }
      await until(async () => {
        const positions = await bus.positions('atomic', [spec.topic])
        return positions.every(({ nextOffset, endOffset }) => nextOffset === endOffset)
      })
      expect(bus.stats()).toMatchObject({ publishedRecords: expected.length + 1, queuedRecords: 0, queuedBytes: 0 })
    })

    test('are refused together when they are too many for that, and none of them is there', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'atomic-large', topics: [spec.topic], onBatch: sink.onBatch })
      const large = Array.from({ length: 40 }, (_, i): BusRecord => ({ key: `k-${i}`, value: 'x'.repeat(256 * 1024) }))
      const refusal = { code: 'BATCH_TOO_LARGE', retryable: false, hint: expect.stringContaining('fewer') }
      await expect(bus.publish(spec.topic, large, { atomic: true })).rejects.toMatchObject(refusal)
      await bus.publish(spec.topic, [{ key: 'after', value: 'one' }])
      await until(() => sink.records.length > 0)
      expect(sink.values()).toEqual(['one'])
    })
  })
}
