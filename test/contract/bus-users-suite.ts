/** What is built on a bus and has to hold on each: the consumer of records and the outbox relay. */

import { describe, expect, onTestFinished, test } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { deadLetterTopicOf, type TopicSpec } from '../../cloud/bus/catalogue.ts'
import { RecordConsumer } from '../../cloud/bus/record-consumer.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { numbered, relayOver } from '../support/outbox-relay.ts'
import { until } from '../support/until.ts'
import { Sink, uniqueTopic } from './bus-fixtures.ts'

/** @param open gives a started bus with these topics, stopped when the test ends. */
export function busUsersSuite(open: (topics: TopicSpec[]) => Promise<Bus>): void {
  describe('a record consumer', () => {
    test('dead-letters a poison record and goes on behind it, also after a restart', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const { topic } = spec
      const letterSpec = uniqueTopic({ topic: deadLetterTopicOf(topic), partitions: 1 })
      const bus = await open([spec, letterSpec])
      const handled: number[] = []
      const consumer = (): RecordConsumer<{ n: number }> => {
        const created = new RecordConsumer<{ n: number }>({
          name: 'tasks',
          bus,
          group: 'tasks',
          topics: [topic],
          decode: ({ value }) => {
            const n = Number(value)
            return Number.isNaN(n) ? { unusable: 'NOT_A_NUMBER', message: `${value} is no number` } : { n }
          },
          handle: async (items) => {
            if (items.some(({ value }) => value.n === 13)) throw new Error('thirteen')
            handled.push(...items.map(({ value }) => value.n))
          },
          clock: systemClock,
          random: systemRandom,
          log: silentLogger,
        })
        onTestFinished(() => created.stop())
        return created
      }
      const letters = new Sink()
      await bus.subscribe({ group: 'letters', topics: [letterSpec.topic], onBatch: letters.onBatch })
      const first = consumer()
      await first.start()
      const values = ['1', '{"not":"a number"}', '13', '2', '3']
      await bus.publish(
        topic,
        values.map((value) => ({ key: 't', value })),
      )
      await until(() => letters.records.length === 2 && first.stats().handled === 3)
      expect(letters.values().map((text) => JSON.parse(text).error)).toMatchObject([
        { code: 'NOT_A_NUMBER', retryCount: 0 },
        { code: 'HANDLER_FAILED', message: 'thirteen', retryCount: 3 },
      ])
      expect(letters.records[1]?.headers).toMatchObject({ originalTopic: topic, originalOffset: '2', source: 'tasks' })
      await first.stop()
      await consumer().start()
      await bus.publish(topic, [{ key: 't', value: '4' }])
      await until(() => handled.includes(4))
      expect(handled).toEqual([1, 2, 3, 4])
      expect(letters.records.length).toBe(2)
    })
  })

  describe('an outbox relay', () => {
    test('publishes what is stored, in the order of each key, and tells its owner', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'outbox', topics: [spec.topic], onBatch: sink.onBatch })
      const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
      await database.start()
      onTestFinished(() => database.stop())
      const { outbox, relay, append } = relayOver(database, bus)
      const told: string[] = []
      outbox.onPublished('test', async (ids) => void told.push(...ids))
      await relay.start()
      const records = numbered(spec.topic, 1_200, 7)
      for (let from = 0; from < records.length; from += 300) await append(records.slice(from, from + 300))
      await until(() => relay.stats().published === 1_200 && sink.records.length === 1_200)
      for (let key = 0; key < 7; key++) {
        const numbers = sink.values(`key-${key}`).map(Number)
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
      }
      expect(told.length).toBe(1_200)
      expect(relay.stats()).toMatchObject({ setAside: 0, failing: null })
    })
  })
}
