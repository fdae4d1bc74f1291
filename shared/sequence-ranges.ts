/**
 * A set of sequence numbers as ascending, disjoint, non-adjacent inclusive ranges. Live records and the backlog arrive
 * side by side, so what a side has of a lane is a few ranges rather than one cursor.
 */

import type { SequenceRange } from './lanes.ts'

/** `ranges` with `added` in it; the result is normalised and the input untouched. */
export function addRange(ranges: readonly SequenceRange[], added: SequenceRange): SequenceRange[] {
  const result: SequenceRange[] = []
  let { first, last } = added
  let placed = false
  for (const range of ranges) {
    if (range.last + 1 < first) {
      result.push(range)
    } else if (last + 1 < range.first) {
      if (!placed) {
        result.push({ first, last })
        placed = true
      }
      result.push(range)
    } else {
      first = Math.min(first, range.first)
      last = Math.max(last, range.last)
    }
  }
  if (!placed) result.push({ first, last })
  return result
}

/** The parts of `wanted` that are not in `ranges`, ascending. */
export function missingFrom(ranges: readonly SequenceRange[], wanted: SequenceRange): SequenceRange[] {
  const missing: SequenceRange[] = []
  let next = wanted.first
  for (const range of ranges) {
    if (range.last < next) continue
    if (range.first > wanted.last) break
    if (range.first > next) missing.push({ first: next, last: range.first - 1 })
    next = range.last + 1
  }
  if (next <= wanted.last) missing.push({ first: next, last: wanted.last })
  return missing
}

/** True when every number of `wanted` is in `ranges`. */
export function containsRange(ranges: readonly SequenceRange[], wanted: SequenceRange): boolean {
  return ranges.some((range) => range.first <= wanted.first && wanted.last <= range.last)
}
