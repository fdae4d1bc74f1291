import { expect, test } from 'vitest'
import { LiveTail } from '../../../cloud/api/socket/live-tail.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

/** A bus that says when it is being followed. */
function followedBus() {
  const calls: string[] = []
  const gates: (() => void)[] = []
  let failing = false
  return {
    calls,
    fail(value: boolean) {
      failing = value
    },
    /** Lets one start finish. */
    open: () => gates.shift()?.(),
    tail: async () => {
      calls.push('start')
      await new Promise<void>((resolve) => gates.push(resolve))
      if (failing) throw new Error('no broker answers')
      return {
        stop: async () => {
          calls.push('stop')
        },
      }
    },
  }
}

function tailOf(bus: ReturnType<typeof followedBus>) {
  const clock = new ManualClock()
  return {
    clock,
    tail: new LiveTail({ bus, topics: ['device-status'], clock, log: silentLogger, onBatch: async () => undefined }),
  }
}

test('many who ask at once share one start, and wait for it', async () => {
  const bus = followedBus()
  const { tail } = tailOf(bus)
  let ready = 0
  const asked = Array.from({ length: 5 }, () => tail.follow().then(() => ready++))
  await until(() => bus.calls.length === 1)
  expect(ready).toBe(0)
  bus.open()
  await Promise.all(asked)
  expect(bus.calls).toEqual(['start'])
  expect(tail.running).toBe(true)
})

test('following outlasts the last subscription for a while, and not for ever', async () => {
  const bus = followedBus()
  const { tail, clock } = tailOf(bus)
  const first = tail.follow()
  await until(() => bus.calls.length === 1)
  bus.open()
  await first
  tail.rest()
  clock.advance(29_000)
  await tail.follow()
  clock.advance(60_000)
  expect(bus.calls).toEqual(['start'])
  tail.rest()
  clock.advance(31_000)
  await until(() => !tail.running)
  expect(bus.calls).toEqual(['start', 'stop'])
})

test('a failed start is told to those who waited, and the next one tries afresh', async () => {
  const bus = followedBus()
  const { tail } = tailOf(bus)
  bus.fail(true)
  const refused = expect(tail.follow()).rejects.toThrow('no broker answers')
  await until(() => bus.calls.length === 1)
  bus.open()
  await refused
  bus.fail(false)
  const second = tail.follow()
  await until(() => bus.calls.length === 2)
  bus.open()
  await second
  expect(tail.running).toBe(true)
})

test('a stop while it starts waits for the start and ends it', async () => {
  const bus = followedBus()
  const { tail } = tailOf(bus)
  const asked = tail.follow()
  await until(() => bus.calls.length === 1)
  const stopped = tail.stop()
  bus.open()
  await Promise.all([asked, stopped])
  expect(bus.calls).toEqual(['start', 'stop'])
})
