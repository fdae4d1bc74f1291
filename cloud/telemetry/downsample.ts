/**
 * Fewer points that look the same: what a chart of so many points can show of a series with more. Both ways give points of
 * the input, in its order.
 */

/** One reading of a numeric field. */
export interface Point {
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  readonly value: number
}

export const DOWNSAMPLING_METHODS = ['minmax', 'lttb'] as const
/** `minmax` keeps every extreme of its stretch of time; `lttb` keeps the shape, and may leave an extreme out. */
export type DownsamplingMethod = (typeof DOWNSAMPLING_METHODS)[number]

/** At most `pointsMax` points, which is 2 or more. @param points by time, ascending. */
export function downsample(points: readonly Point[], pointsMax: number, method: DownsamplingMethod): readonly Point[] {
  if (points.length <= pointsMax) return points
  return method === 'lttb' ? lttb(points, pointsMax) : minMax(points, pointsMax)
}

/** The least and the greatest value of each of equal stretches of time, so that no peak is lost. */
export function minMax(points: readonly Point[], pointsMax: number): Point[] {
  if (points.length <= pointsMax) return [...points]
  const stretches = Math.floor(pointsMax / 2)
  const firstMs = (points[0] as Point).atMs
  const widthMs = ((points[points.length - 1] as Point).atMs - firstMs + 1) / stretches
  const kept: Point[] = []
  let end = 0
  for (let stretch = 1; end < points.length; stretch++) {
    const begin = end
    // The last one takes what rounding leaves over.
    const endMs = stretch >= stretches ? Number.POSITIVE_INFINITY : firstMs + stretch * widthMs
    let least = begin
    let greatest = begin
    for (; end < points.length && (points[end] as Point).atMs < endMs; end++) {
      const { value } = points[end] as Point
      if (value < (points[least] as Point).value) least = end
      if (value > (points[greatest] as Point).value) greatest = end
    }
    if (end === begin) continue
    kept.push(points[Math.min(least, greatest)] as Point)
    if (least !== greatest) kept.push(points[Math.max(least, greatest)] as Point)
  }
  return kept
}

/**
 * Largest Triangle Three Buckets (S. Steinarsson, Downsampling Time Series for Visual Representation, 2013): of each of
 * equally filled buckets the point that makes the largest triangle with the point kept before it and the mean of the next
 * bucket. The first and the last point stay.
 */
export function lttb(points: readonly Point[], pointsMax: number): Point[] {
  if (points.length <= pointsMax) return [...points]
  const last = points.length - 1
  const kept = [points[0] as Point]
  const buckets = pointsMax - 2
  const bucketPoints = (last - 1) / buckets
  const beginOf = (bucket: number): number => (bucket < buckets ? Math.floor(bucket * bucketPoints) + 1 : last)
  for (let bucket = 0; bucket < buckets; bucket++) {
    const before = kept[kept.length - 1] as Point
    const next = meanOf(points, beginOf(bucket + 1), bucket + 1 < buckets ? beginOf(bucket + 2) : last + 1)
    const end = beginOf(bucket + 1)
    let chosen = beginOf(bucket)
    let largest = -1
    for (let i = chosen; i < end; i++) {
      const { atMs, value } = points[i] as Point
      const area = Math.abs(
        (before.atMs - next.atMs) * (value - before.value) - (before.atMs - atMs) * (next.value - before.value),
      )
      if (area > largest) {
        largest = area
        chosen = i
      }
    }
    kept.push(points[chosen] as Point)
  }
  kept.push(points[last] as Point)
  return kept
}

function meanOf(points: readonly Point[], begin: number, end: number): Point {
  let atMs = 0
  let value = 0
  for (let i = begin; i < end; i++) {
    const point = points[i] as Point
    atMs += point.atMs
    value += point.value
  }
  return { atMs: atMs / (end - begin), value: value / (end - begin) }
}
