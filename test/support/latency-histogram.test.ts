import { expect, test } from 'vitest'
import { LatencyHistogram } from './latency-histogram.ts'

test('percentiles of a known spread are within two per cent', () => {
  const histogram = new LatencyHistogram()
  for (let i = 1; i <= 100_000; i++) histogram.record(i / 100)
  const { p50Ms, p99Ms, maxMs, count } = histogram.summary()
  expect(count).toBe(100_000)
  expect(Math.abs(p50Ms - 500) / 500).toBeLessThan(0.02)
  expect(Math.abs(p99Ms - 990) / 990).toBeLessThan(0.02)
  expect(maxMs).toBe(1000)
})

test('an empty histogram is all zeros', () => {
  expect(new LatencyHistogram().summary()).toEqual({ count: 0, p50Ms: 0, p90Ms: 0, p99Ms: 0, p999Ms: 0, maxMs: 0 })
})
