/** What is built on a bus and has to hold on each: the consumer of records and the outbox relay. */

import { describe, expect, onTestFinished, test } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import { deadLetterTopicOf, type TopicSpec } from '../../cloud/bus/catalogue.ts'
import type { Parking } from '../../cloud/bus/parking.ts'
import { RecordConsumer } from '../../cloud/bus/record-consumer.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { numbered, relayOver } from '../support/outbox-relay.ts'
import { memoryDatabase, parkingOver } from '../support/parking.ts'
import { until } from '../support/until.ts'
import { Sink, uniqueTopic } from './bus-fixtures.ts'

/** @param open gives a started bus with these topics, stopped when the test ends. */
export function busUsersSuite(open: (topics: TopicSpec[]) => Promise<Bus>): void {
  describe('a record consumer', () => {
    test('sets a poison record aside, goes on with the other keys, and dead-letters it in the end', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const { topic } = spec
      const letterSpec = uniqueTopic({ topic: deadLetterTopicOf(topic), partitions: 1 })
      const bus = await open([spec, letterSpec])
      const database = await memoryDatabase()
      const handled: number[] = []
      let recovered = false
      const consumer = (parking: Parking): RecordConsumer<{ n: number }> => {
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
            if (items.some(({ value }) => value.n === 13 || (value.n === 7 && !recovered))) throw new Error('not yet')
            handled.push(...items.map(({ value }) => value.n))
          },
          parking,
          clock: systemClock,
          random: systemRandom,
          log: silentLogger,
        })
        onTestFinished(() => created.stop())
        return created
      }
      const letters = new Sink()
      await bus.subscribe({ group: 'letters', topics: [letterSpec.topic], onBatch: letters.onBatch })
      // The first core retries nothing: what it sets aside is for the second one.
      const idle = parkingOver(database, bus)
      const first = consumer(idle)
      await first.start()
      const publish = (key: string, ...values: string[]) => {
        const records = values.map((value) => ({ key, value }))
        return bus.publish(topic, records)
      }
      await publish('bad', '1', '{"not":"a number"}', '13', '2')
      await publish('slow', '6', '7', '8')
      await publish('good', '20', '21')
      await until(() => handled.includes(21) && letters.records.length === 1)
      // Later records of a key that is set aside go behind it.
      await publish('bad', '3')
      await publish('slow', '9')
      await publish('good', '22')
      await until(() => handled.includes(22))
      expect(handled).toEqual([1, 6, 20, 21, 22])
      await first.stop()

      recovered = true
      const parking = parkingOver(database, bus)
      await parking.start()
      const second = consumer(parking)
      await second.start()
      await until(() => letters.records.length === 2 && handled.includes(3) && handled.includes(9))
      expect(letters.values().map((text) => JSON.parse(text).error)).toMatchObject([
        { code: 'NOT_A_NUMBER', retryCount: 0 },
        { code: 'HANDLER_FAILED', message: 'not yet', retryCount: 5 },
      ])
      expect(letters.records[1]?.headers).toMatchObject({ originalTopic: topic, originalOffset: '2', source: 'tasks' })
      expect(handled.filter((n) => n < 6)).toEqual([1, 2, 3])
      expect(handled.filter((n) => n >= 6 && n < 10)).toEqual([6, 7, 8, 9])
    })

    test('handles a key in order when it recovers', async () => {
      const spec = uniqueTopic({ partitions: 1 })
      const { topic } = spec
      const letterSpec = uniqueTopic({ topic: deadLetterTopicOf(topic), partitions: 1 })
      const bus = await open([spec, letterSpec])
      const parking = parkingOver(await memoryDatabase(), bus)
      await parking.start()
      const handled: string[] = []
      let recovered = false
      const consumer = new RecordConsumer<{ text: string }>({
        name: 'tasks',
        bus,
        group: 'tasks',
        topics: [topic],
        decode: ({ value }) => ({ text: value.toString() }),
        handle: async (items) => {
          if (!recovered && items.some(({ value }) => value.text === 'b1')) throw new Error('not yet')
          handled.push(...items.map(({ value }) => value.text))
        },
        parking,
        policy: { immediateTries: 2, immediatePauseMs: 5, retries: 1_000, backoff: { baseMs: 10, capMs: 20 } },
        clock: systemClock,
        random: systemRandom,
        log: silentLogger,
      })
      onTestFinished(() => consumer.stop())
      await consumer.start()
      const records = ['a0', 'b0', 'a1', 'b1', 'b2', 'a2', 'b3'].map((value) => ({ key: value.charAt(0), value }))
      await bus.publish(topic, records)
      await until(() => handled.length === 4)
      await bus.publish(
        topic,
        ['b4', 'a3'].map((value) => ({ key: value.charAt(0), value })),
      )
      await until(() => handled.includes('a3') && consumer.stats().retried > 2)
      expect(handled.filter((text) => text.startsWith('b'))).toEqual(['b0'])
      recovered = true
      await until(() => handled.length === 9)
      await until(() => consumer.stats().parkedKeys === 0)
      await bus.publish(topic, [{ key: 'b', value: 'b5' }])
      await until(() => handled.includes('b5'))
      expect(handled.filter((text) => text.startsWith('b'))).toEqual(['b0', 'b1', 'b2', 'b3', 'b4', 'b5'])
      expect(handled.filter((text) => text.startsWith('a'))).toEqual(['a0', 'a1', 'a2', 'a3'])
      expect(consumer.stats()).toMatchObject({ handled: 10, deadLettered: {}, failing: null })
    })
  })

  describe('an outbox relay', () => {
    test('publishes what is stored, in the order of each key, and tells its owner', async () => {
      const spec = uniqueTopic()
      const bus = await open([spec])
      const sink = new Sink()
      await bus.subscribe({ group: 'outbox', topics: [spec.topic], onBatch: sink.onBatch })
      const database = await memoryDatabase()
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
