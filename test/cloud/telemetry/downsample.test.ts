import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { downsample, lttb, minMax, type Point } from '../../../cloud/telemetry/downsample.ts'

const seriesOf = (value: fc.Arbitrary<number>) =>
  fc
    .array(fc.record({ stepMs: fc.oneof(fc.nat(3), fc.nat(100_000)), value }), { maxLength: 600, size: 'max' })
    .map((steps) => {
      let atMs = 1_700_000_000_000
      return steps.map(({ stepMs, value }): Point => {
        atMs += stepMs
        return { atMs, value }
      })
    })
const few = fc.integer({ min: -5, max: 5 })
const series = seriesOf(fc.oneof(few, fc.double({ noNaN: true, noDefaultInfinity: true })))
const pointsMax = fc.integer({ min: 2, max: 300 })

/** Whether `kept` are points of `points`, in the same order, none of them twice. */
function isSubsequence(kept: readonly Point[], points: readonly Point[]): boolean {
  let at = 0
  return kept.every((point) => {
    const found = points.indexOf(point, at)
    at = found + 1
    return found !== -1
  })
}

describe('downsampling', () => {
  it('gives points of the series in their order, never more than asked for, and all of them where they are few', () => {
    fc.assert(
      fc.property(series, pointsMax, fc.constantFrom('minmax' as const, 'lttb' as const), (points, max, method) => {
        const kept = downsample(points, max, method)
        expect(kept.length).toBeLessThanOrEqual(max)
        expect(isSubsequence(kept, points)).toBe(true)
        if (points.length <= max) expect(kept.length).toBe(points.length)
      }),
    )
  })

  it('by min/max keeps the least and the greatest of every stretch, so every peak stays', () => {
    fc.assert(
      fc.property(series, pointsMax, (points, max) => {
        const kept = minMax(points, max)
        const values = points.map(({ value }) => value)
        const keptValues = kept.map(({ value }) => value)
        expect(Math.max(...keptValues)).toBe(Math.max(...values))
        expect(Math.min(...keptValues)).toBe(Math.min(...values))
      }),
    )
  })

  it('by LTTB keeps the first and the last point, and uses all points it may', () => {
    fc.assert(
      fc.property(series, pointsMax, (points, max) => {
        const kept = lttb(points, max)
        expect(kept[0]).toBe(points[0])
        expect(kept.at(-1)).toBe(points.at(-1))
        expect(kept.length).toBe(Math.min(points.length, max))
      }),
    )
  })

  it('by LTTB chooses as the paper has it', () => {
    fc.assert(
      fc.property(
        seriesOf(fc.oneof(few, fc.double({ min: -1e9, max: 1e9, noNaN: true }))),
        fc.integer({ min: 3, max: 300 }),
        (points, max) => {
          const expected = points.length <= max ? points : naiveLttb(points, max)
          expect(lttb(points, max).map((point) => points.indexOf(point))).toEqual(
            expected.map((point) => points.indexOf(point)),
          )
        },
      ),
    )
  })
})

/** By the buckets themselves, as the thesis describes it. */
function naiveLttb(points: readonly Point[], max: number): Point[] {
  const inner = points.slice(1, -1)
  const size = inner.length / (max - 2)
  const buckets = Array.from({ length: max - 2 }, (_, i) =>
    inner.slice(Math.floor(i * size), i === max - 3 ? inner.length : Math.floor((i + 1) * size)),
  )
  const last = points.at(-1) as Point
  const kept = [points[0] as Point]
  for (const [i, bucket] of buckets.entries()) {
    const next = buckets[i + 1] ?? [last]
    const c = {
      x: next.reduce((sum, { atMs }) => sum + atMs, 0) / next.length,
      y: next.reduce((sum, { value }) => sum + value, 0) / next.length,
    }
    const a = kept.at(-1) as Point
    const areas = bucket.map((b) =>
      Math.abs((a.atMs - c.x) * (b.value - a.value) - (a.atMs - b.atMs) * (c.y - a.value)),
    )
    kept.push(bucket[areas.indexOf(Math.max(...areas))] as Point)
  }
  return [...kept, last]
}
