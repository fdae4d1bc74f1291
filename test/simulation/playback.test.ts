import { expect, test } from 'vitest'
import { ManualClock } from '../support/manual-clock.ts'
import { Playback } from './playback.ts'
import { HOUR_MS } from './weather.ts'

/** Plays an hour of the past at a thousand times its speed, one reading a minute, then one a second. */
function playback() {
  const clock = new ManualClock()
  const fromMs = clock.wallMs() - HOUR_MS
  const times: number[] = []
  let busy = false
  const player = {
    publishReading(timeMs: number) {
      if (!busy) times.push(timeMs - fromMs)
      return !busy
    },
  }
  const playback = new Playback({
    clients: [player],
    clock,
    fromMs,
    speed: 1000,
    intervalMs: 60_000,
    liveIntervalMs: 1_000,
  })
  return { clock, playback, times, setBusy: (value: boolean) => (busy = value) }
}

const minutes = (count: number): number[] => Array.from({ length: count }, (_, i) => i * 60_000)

test('plays the past fast and leaves no reading out', () => {
  const { clock, playback: past, times } = playback()
  past.start()
  clock.advance(1_800)
  expect(times).toEqual(minutes(31))
})

test('never runs ahead of the present, and goes on in real time there', () => {
  const { clock, playback: past, times } = playback()
  past.start()
  clock.advance(10_000)
  expect(past.caughtUp).toBe(true)
  const before = times.length
  clock.advance(10_000)
  expect(times.length - before).toBe(10)
  expect(past.nowMs).toBeLessThanOrEqual(clock.wallMs())
})

test('a device that could not publish catches up', () => {
  const { clock, playback: past, times, setBusy } = playback()
  past.start()
  setBusy(true)
  clock.advance(600)
  expect(times).toEqual([])
  setBusy(false)
  clock.advance(600)
  expect(times).toEqual(minutes(21))
})

test('pauses and goes on where it left off', () => {
  const { clock, playback: past, times } = playback()
  past.start()
  clock.advance(600)
  past.stop()
  clock.advance(60_000)
  expect(times).toEqual(minutes(11))
  past.start()
  clock.advance(600)
  expect(times).toEqual(minutes(21))
})
