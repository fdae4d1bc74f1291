import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { SequenceRange } from '../../shared/lanes.ts'
import { addRange, containsRange, missingFrom } from '../../shared/sequence-ranges.ts'

const range = fc.tuple(fc.nat(60), fc.nat(8)).map(([first, more]) => ({ first, last: first + more }))

function members(ranges: readonly SequenceRange[]): number[] {
  return ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i))
}

describe('sequence ranges', () => {
  it('are a set: ascending, disjoint, not adjacent', () => {
    fc.assert(
      fc.property(fc.array(range), (added) => {
        const ranges = added.reduce<SequenceRange[]>(addRange, [])
        expect(members(ranges)).toEqual([...new Set(members(added))].sort((a, b) => a - b))
        for (let i = 1; i < ranges.length; i++) {
          expect((ranges[i] as SequenceRange).first).toBeGreaterThan((ranges[i - 1] as SequenceRange).last + 1)
        }
      }),
    )
  })

  it('know what is missing of a wanted range', () => {
    fc.assert(
      fc.property(fc.array(range), range, (added, wanted) => {
        const ranges = added.reduce<SequenceRange[]>(addRange, [])
        const have = new Set(members(ranges))
        expect(members(missingFrom(ranges, wanted))).toEqual(members([wanted]).filter((n) => !have.has(n)))
        expect(containsRange(ranges, wanted)).toBe(missingFrom(ranges, wanted).length === 0)
      }),
    )
  })
})
