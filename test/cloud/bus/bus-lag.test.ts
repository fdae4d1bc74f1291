import { expect, it } from 'vitest'
import { BusLag } from '../../../cloud/bus/bus-lag.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { record } from './support/fed-consumer.ts'

/** A batch whose newest record is `ageMs` old. */
const batch = (clock: ManualClock, partition: number, ageMs: number) => {
  const records = [{ ...record(partition, 'k', 'v'), partition, timestampMs: clock.wallMs() - ageMs }]
  return { topic: 'device-telemetry', partition, records }
}

it('tells the age of what is in hand, and what it was when that was done, of the partition furthest behind', () => {
  const clock = new ManualClock()
  const lag = new BusLag(clock)
  expect(lag.behindMs()).toBe(0)
  const first = lag.begin(batch(clock, 0, 200))
  clock.advance(1_000)
  expect(lag.behindMs()).toBe(1_200)
  first()
  lag.begin(batch(clock, 1, 5_000))()
  clock.advance(1_000)
  expect(lag.behindMs()).toBe(5_000)
  lag.begin(batch(clock, 1, 10))()
  expect(lag.behindMs()).toBe(1_200)
})

it('forgets a partition of which nothing comes any more, but never one in hand', () => {
  const clock = new ManualClock()
  const lag = new BusLag(clock)
  lag.begin(batch(clock, 0, 600_000))()
  clock.advance(60_000)
  expect(lag.behindMs()).toBe(600_000)
  clock.advance(1)
  expect(lag.behindMs()).toBe(0)
  lag.begin(batch(clock, 0, 0))
  clock.advance(3_600_000)
  expect(lag.behindMs()).toBe(3_600_000)
})

it('is not below zero when the clock was set back, and knows no age of an empty batch', () => {
  const clock = new ManualClock()
  const lag = new BusLag(clock)
  lag.begin(batch(clock, 0, -5_000))()
  lag.begin({ topic: 'device-telemetry', partition: 1, records: [] })()
  expect(lag.behindMs()).toBe(0)
})
