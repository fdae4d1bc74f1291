import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RESOLUTIONS } from '../../../cloud/telemetry/rollup.ts'
import { pagesByTime } from '../../../cloud/telemetry/series-pages.ts'
import { chooseResolution, keptSince, stepsOf } from '../../../cloud/telemetry/series-plan.ts'

const NOW_MS = Date.UTC(2026, 6, 1)
const DAY_MS = 86_400_000
const SETTINGS = {
  rawDays: 30,
  rollup1mDays: 90,
  rollup15mDays: 730,
  rollup1hDays: 3_650,
  rollup1dDays: 36_500,
  rollUpDelayMs: 2_000,
  seriesPointsMax: 5_000,
  seriesMax: 50,
}
const stretch = fc
  .tuple(
    fc.integer({ min: 0, max: NOW_MS }),
    fc.oneof(fc.integer({ min: 1, max: DAY_MS }), fc.integer({ min: 1, max: 4_000 * DAY_MS })),
  )
  .map(([fromMs, lengthMs]) => ({ fromMs, toMs: fromMs + lengthMs }))

describe('steps', () => {
  it('cover the stretch, are whole buckets, never more than points, and no longer than they need to be', () => {
    fc.assert(
      fc.property(
        stretch,
        fc.constantFrom(...RESOLUTIONS),
        fc.integer({ min: 2, max: 5_000 }),
        (asked, { ms }, max) => {
          const { fromMs, toMs, stepMs, count } = stepsOf(asked, ms, max)
          expect(count).toBeLessThanOrEqual(max)
          expect(count).toBe((toMs - fromMs) / stepMs)
          expect([fromMs % stepMs, toMs % stepMs, stepMs % ms]).toEqual([0, 0, 0])
          expect(fromMs <= asked.fromMs && fromMs + stepMs > asked.fromMs).toBe(true)
          expect(toMs >= asked.toMs && toMs - stepMs < asked.toMs).toBe(true)
          const shorter = stepMs - ms
          if (shorter > 0)
            expect(Math.ceil(asked.toMs / shorter) - Math.floor(asked.fromMs / shorter)).toBeGreaterThan(max)
        },
      ),
    )
  })
})

describe('the resolution', () => {
  const choose = (days: number, choice: object = {}) => {
    const asked = {
      fromMs: NOW_MS - days * DAY_MS,
      toMs: NOW_MS,
      pointsMax: 500,
      devices: 1,
      fields: 1,
      readings: days * 1_440,
    }
    return chooseResolution({ ...asked, ...choice }, keptSince(SETTINGS, NOW_MS))
  }

  it.each([
    [0.04, 'raw'],
    [1, 'raw'],
    [7, '15m'],
    [29, '1h'],
    [365, '1h'],
    [3_000, '1d'],
  ])('of %d days at a reading a minute is %s', (days, expected) => {
    expect(choose(days)).toBe(expected)
  })

  it('is raw over long stretches where there are few readings', () => {
    expect(choose(29, { readings: 3_000 })).toBe('raw')
  })

  it('is coarser for many devices, and where the finer one is not kept for the whole stretch', () => {
    expect(choose(29, { devices: 50, readings: 2_000_000 })).toBe('1h')
    expect(choose(80, { pointsMax: 5_000, devices: 50, readings: 1e7 })).toBe('1h')
    expect(choose(31, { readings: 10 })).toBe('1h')
    expect(choose(100, { readings: 1e6, pointsMax: 5_000 })).toBe('15m')
  })
})

describe('pages by time', () => {
  it('have every row once, in order, however wrong the guess of how many there are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(500), { maxLength: 300, size: 'max' }),
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 1, max: 20 }),
        async (times, guess, pageRows) => {
          const rows = times.sort((a, b) => a - b).map((atMs, id) => ({ atMs, id }))
          const read = async (
            { fromMs, toMs }: { fromMs: number; toMs: number },
            after: { id: number } | null,
            limit: number,
          ) => rows.filter(({ atMs, id }) => atMs >= fromMs && atMs < toMs && id > (after?.id ?? -1)).slice(0, limit)
          const seen: unknown[] = []
          for await (const page of pagesByTime(read, { fromMs: 100, toMs: 400 }, guess, pageRows)) seen.push(...page)
          expect(seen).toEqual(rows.filter(({ atMs }) => atMs >= 100 && atMs < 400))
        },
      ),
      { numRuns: 50 },
    )
  })
})
