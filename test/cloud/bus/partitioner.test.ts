import { expect, test } from 'vitest'
import { murmur2, Partitioner } from '../../../cloud/bus/partitioner.ts'

// The vectors of Apache Kafka's own UtilsTest.
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('murmur2 of %s is that of the Java client', (key, hash) => {
  expect(murmur2(Buffer.from(key))).toBe(hash)
})

test('a key keeps its partition, also after more keys than are remembered', () => {
  const partitioner = new Partitioner()
  const first = partitioner.partitionOf('INV-001', 7)
  for (let i = 0; i < 70_000; i++) partitioner.partitionOf(`MTR-${i}`, 7)
  expect(partitioner.partitionOf('INV-001', 7)).toBe(first)
  expect(first).toBe((murmur2(Buffer.from('INV-001')) & 0x7fffffff) % 7)
})

test('records without a key take turns', () => {
  const partitioner = new Partitioner()
  expect([0, 1, 2, 3].map(() => partitioner.partitionOf(null, 3))).toEqual([0, 1, 2, 0])
})
