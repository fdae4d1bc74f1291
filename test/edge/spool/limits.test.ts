/** What is given up at a limit, in which order, and how the cloud learns of it. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roomFor } from '../../../edge/spool/eviction.ts'
import { noise, texts } from '../../support/spool.ts'
import { at, openStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'

const KIB = 1024
const MIB = 1024 * KIB

test('at the byte limit the oldest telemetry becomes one growing gap, and the file stays within the limit', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0), { bytesMax: 2 * MIB })
  for (let n = 0; n < 100; n++) spool.append([noise(50 * KIB), `n${n}`], at(n))
  const items = spool.items(at(200))
  const [gap, ...blocks] = items
  expect(gap).toMatchObject({ kind: 'gap', reason: 'bytes', firstSequence: items[0]?.firstSequence })
  expect(blocks.every(({ kind }) => kind === 'block')).toBe(true)
  expect(blocks.length).toBeGreaterThan(30)
  expect((gap?.recordCount ?? 0) + blocks.length * 2).toBe(200)
  expect(spool.evicted()).toMatchObject({ bytes: gap?.recordCount, age: 0, disk: 0, corrupt: 0 })
  spool.store.close()
  expect(statSync(join(dir, 'spool.db')).size).toBeLessThan(2.2 * MIB)
})

test('priority goes only when telemetry is gone', async () => {
  const spool = openStore(await tempDir(), at(0), { bytesMax: 1 * MIB })
  spool.append(['first status'], at(0), 'priority')
  for (let n = 0; n < 40; n++) spool.append([noise(50 * KIB)], at(n))
  expect(texts(spool.records(at(50), 'priority'))).toEqual(['first status'])
  for (let n = 0; n < 40; n++) spool.append([noise(50 * KIB)], at(n), 'priority')
  expect(spool.records(at(100), 'telemetry')).toEqual([])
  expect(spool.items(at(100), 'priority')[0]).toMatchObject({ kind: 'gap', reason: 'bytes' })
  expect(spool.records(at(100), 'priority').length).toBeGreaterThan(10)
})

test('a gap is read like a block, acknowledged like one, and can be acknowledged in parts', async () => {
  const spool = openStore(await tempDir(), at(0), { ageMaxMs: 1000 })
  spool.append(['1', '2', '3', '4', '5', '6'], at(0))
  spool.append(['7'], at(3000))
  const [gap] = spool.items(at(3000))
  const first = gap?.firstSequence ?? 0
  expect(gap).toMatchObject({ kind: 'gap', recordCount: 6, reason: 'age', wallMs: at(3000).wallMs })
  spool.acknowledge([{ first: first + 2, last: first + 3 }], at(3000))
  const shape = () => spool.items(at(3000)).map((item) => [item.kind, item.firstSequence - first, item.recordCount])
  expect(shape()).toEqual([
    ['gap', 0, 2],
    ['gap', 4, 2],
    ['block', 6, 1],
  ])
  spool.acknowledge([{ first, last: first + 6 }], at(3000))
  expect(shape()).toEqual([])
  expect(spool.lane()).toMatchObject({ records: 0, bytes: 0, oldestSequence: first + 7, nextSequence: first + 7 })
})

test('records over the age limit are given up without anything new arriving', async () => {
  const spool = openStore(await tempDir(), at(0), { ageMaxMs: 60_000 })
  spool.append(['old'], at(0))
  spool.append(['old status'], at(0), 'priority')
  spool.append(['young'], at(50_000))
  spool.store.tend({ compact: false, probe: false }, at(60_001))
  expect(texts(spool.records(at(60_001)))).toEqual(['young'])
  expect(spool.evicted()).toMatchObject({ age: 2 })
})

test('gaps of different reasons stay apart, of the same reason join', async () => {
  const spool = openStore(await tempDir(), at(0), { ageMaxMs: 1000, bytesMax: 1 * MIB })
  spool.append(['a'], at(0))
  spool.append(['b'], at(0))
  spool.append([noise(100 * KIB)], at(2000))
  for (let n = 0; n < 20; n++) spool.append([noise(100 * KIB)], at(2100))
  const gaps = spool.items(at(2100)).filter((item) => item.kind === 'gap')
  expect(gaps.map(({ reason, recordCount }) => [reason, recordCount > 1])).toEqual([
    ['age', true],
    ['bytes', true],
  ])
})

test('when what arrives cannot fit at all, nothing is given up for it', async () => {
  const spool = openStore(await tempDir(), at(0), { bytesMax: 200 * KIB })
  spool.append(['kept'], at(0))
  expect(() => spool.append([noise(250 * KIB)], at(1))).toThrow(
    expect.objectContaining({ code: 'SPOOL_WRITE_FAILED', retryable: true }),
  )
  expect(texts(spool.records(at(2)))).toEqual(['kept'])
  // Told so until what failed would fit.
  expect(() => spool.store.tend({ compact: false, probe: true }, at(3))).toThrow(/too small/)
  spool.append(['next'], at(4))
  expect(texts(spool.records(at(5)))).toEqual(['kept', 'next'])
})

test('a disk without room to grow is met by using the same pages again', () => {
  const limits = { bytesMax: 1000 * MIB, diskFreeBytesMin: 100 * MIB }
  const usage = { liveBytes: 50 * MIB, freeBytes: 0, evictableBytes: 40 * MIB, diskFreeBytes: 500 * MIB }
  expect(roomFor(MIB, usage, limits)).toEqual({ kind: 'enough' })
  const low = { ...usage, diskFreeBytes: 90 * MIB }
  expect(roomFor(MIB, low, limits)).toEqual({ kind: 'evict', bytes: MIB, reason: 'disk' })
  expect(roomFor(MIB, { ...low, freeBytes: 2 * MIB }, limits)).toEqual({ kind: 'enough' })
  expect(roomFor(MIB, { ...low, evictableBytes: 0 }, limits)).toMatchObject({ kind: 'none' })
  // A small spool goes on working below the mark, as long as the disk has anything left at all.
  const small = { ...low, liveBytes: MIB, evictableBytes: 0 }
  expect(roomFor(MIB, small, limits)).toEqual({ kind: 'enough' })
  expect(roomFor(MIB, { ...small, diskFreeBytes: MIB }, limits)).toMatchObject({ kind: 'none' })
  const full = { ...usage, liveBytes: 999.5 * MIB }
  expect(roomFor(MIB, full, limits)).toEqual({ kind: 'evict', bytes: 0.5 * MIB, reason: 'bytes' })
})

test('pages of acknowledged blocks are used again', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0))
  for (let round = 0; round < 20; round++) {
    for (let n = 0; n < 20; n++) spool.append([noise(20 * KIB)], at(round))
    const { oldestSequence, nextSequence } = spool.lane()
    spool.acknowledge([{ first: oldestSequence, last: nextSequence - 1 }], at(round))
  }
  spool.store.close()
  expect(statSync(join(dir, 'spool.db')).size).toBeLessThan(1 * MIB)
})

test('a file left large and empty by an outage is given back to the disk', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0))
  for (let n = 0; n < 70; n++)
    spool.append([noise(250 * KIB), noise(250 * KIB), noise(250 * KIB), noise(250 * KIB)], at(n))
  const { oldestSequence, nextSequence } = spool.lane()
  spool.acknowledge([{ first: oldestSequence, last: nextSequence - 1 }], at(100))
  spool.append(['stays'], at(101))
  spool.store.tend({ compact: false, probe: false }, at(102))
  expect(statSync(join(dir, 'spool.db')).size).toBeLessThan(1 * MIB)
  expect(texts(spool.records(at(103)))).toEqual(['stays'])
  expect(spool.lane().nextSequence).toBe(nextSequence + 1)
})
