import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeRollups,
  encodeRollups,
  type FieldRollup,
  mergeRollups,
  rollupOf,
} from '../../../cloud/telemetry/rollup.ts'
import { decodeDelta, encodeDeltas, RollupSums } from '../../../cloud/telemetry/rollup-delta.ts'

const anyValue = fc.record({
  value: fc.oneof(
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  ),
  atMs: fc.integer({ min: -(2 ** 40), max: 2 ** 42 }),
  seq: fc.maxSafeInteger(),
})
const noDrops = () => ({ tooLong: 0, tooMany: 0 })

test('roll-ups come back as they were written, whatever their fields are called', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.oneof(fc.string(), fc.constant('__proto__')), fc.array(anyValue, { minLength: 1 }))),
      (drawn) => {
        const fields = new Map<string, FieldRollup>()
        for (const [name, values] of drawn) {
          fields.set(name, values.map(({ value, atMs, seq }) => rollupOf(value, atMs, seq)).reduce(mergeRollups))
        }
        expect(decodeRollups(encodeRollups(fields))).toEqual(fields)
      },
    ),
  )
})

test('merging does not depend on the order, and a sum never leaves the numbers that JSON has', () => {
  fc.assert(
    fc.property(fc.array(anyValue, { minLength: 1 }), fc.nat(), (values, cut) => {
      const rollups = values.map(({ value, atMs, seq }) => rollupOf(Math.trunc(value % 1_000) + 0, atMs, seq))
      const turned = [...rollups.slice(cut % rollups.length), ...rollups.slice(0, cut % rollups.length)]
      const { last, ...merged } = rollups.reduce(mergeRollups)
      expect(turned.reduce(mergeRollups)).toMatchObject(merged)
      expect(
        values.filter(({ atMs, seq }) => atMs === merged.lastAtMs && seq === merged.lastSeq).length,
      ).toBeGreaterThan(0)
      expect(Number.isFinite(last)).toBe(true)
    }),
  )
  const most = rollupOf(Number.MAX_VALUE, 1, 1)
  expect(mergeRollups(most, most).sum).toBe(Number.MAX_VALUE)
  expect(decodeRollups(encodeRollups(new Map([['a', mergeRollups(most, most)]]))).get('a')?.count).toBe(2)
})

test('deltas are parted by size, a bucket never, and hold together what was summed', () => {
  const sums = new RollupSums()
  for (let i = 0; i < 300; i++) {
    sums.addReading({ deviceId: 1 + (i % 3), atMs: i * 20_000, seq: i, fields: { a: i, b: 1, text: 'x' } }, noDrops())
  }
  const buckets = sums.sorted()
  expect(sums.entries).toBe(buckets.length * 3)
  const bodies = encodeDeltas(buckets, 30)
  expect(bodies.every(({ entries }) => entries <= 30)).toBe(true)
  expect(bodies.reduce((sum, { readings }) => sum + readings, 0)).toBe(300)
  expect(bodies.flatMap(({ body }) => decodeDelta(body))).toEqual(buckets)
  expect(encodeDeltas(buckets, 1).length).toBe(buckets.length)
})
