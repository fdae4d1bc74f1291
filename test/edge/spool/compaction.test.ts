/** Small blocks are merged while nobody drains them, and nothing about their records changes. */

import { expect, test } from 'vitest'
import { COMPACT_AFTER_MS } from '../../../edge/spool/limits.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { appendEach, numbered, readItems, readRecords, startSpool, texts } from '../../support/spool.ts'
import { at, openStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const LATER = 10 * 60_000

/** About 200 bytes that compress as telemetry does. */
function reading(n: number): string {
  const noisy = (base: number, digits: number) => (base + ((n * 7919) % 1000) / 10 ** digits).toFixed(1)
  return JSON.stringify({
    timestamp: new Date(Date.UTC(2026, 5, 1, 12) + n * 1000).toISOString(),
    powerKw: noisy(45, 2),
    voltage: noisy(480, 3),
    current: noisy(94, 2),
    temperature: noisy(35, 3),
    efficiency: noisy(98, 4),
    frequency: noisy(50, 4),
    energyKwh: (73_000 + n / 7).toFixed(2),
    powerFactor: noisy(1, 4),
    status: 'OK',
  })
}

test('blocks of one record become blocks of hundreds, with the same sequences, times and bytes', async () => {
  const spool = openStore(await tempDir(), at(0))
  for (let n = 0; n < 900; n++) spool.append([reading(n)], at(n * 100))
  const before = spool.records(at(LATER))
  expect(spool.items(at(LATER)).length).toBe(900)
  const bytesBefore = spool.lane().bytes
  spool.compact(at(LATER))
  expect(spool.records(at(LATER))).toEqual(before)
  expect(spool.items(at(LATER)).length).toBeLessThan(400)
  expect(spool.lane()).toMatchObject({ records: 900, nextSequence: (before.at(-1)?.sequence ?? 0) + 1 })
  expect(spool.lane().bytes).toBeLessThan(bytesBefore / 3)
})

test('at a low rate a record of 200 bytes takes at most 100 on the disk', async () => {
  const spool = openStore(await tempDir(), at(0))
  for (let n = 0; n < 1200; n++) spool.append([reading(n)], at(n * 100))
  spool.compact(at(LATER))
  const perRecord = spool.lane().bytes / 1200
  expect(reading(5).length).toBeGreaterThan(180)
  expect(perRecord).toBeLessThan(100)
  expect(reading(5).length).toBeLessThan(220)
})

test('what was stored a moment ago is left alone', async () => {
  const spool = openStore(await tempDir(), at(0))
  for (let n = 0; n < 600; n++) spool.append([reading(n)], at(0))
  spool.compact(at(COMPACT_AFTER_MS - 1))
  expect(spool.items(at(LATER)).length).toBe(600)
  spool.compact(at(COMPACT_AFTER_MS + 1))
  expect(spool.items(at(LATER)).length).toBeLessThan(400)
})

test('blocks on the two sides of a gap, a boot, or a clock step are not merged', async () => {
  const dir = await tempDir()
  const first = openStore(dir, at(0))
  for (let n = 0; n < 10; n++) first.append([`a${n}`], at(n))
  const { oldestSequence } = first.lane()
  first.acknowledge([{ first: oldestSequence + 4, last: oldestSequence + 5 }], at(20))
  first.store.close()
  const second = openStore(dir, at(100), { bootId: 'boot-b' })
  for (let n = 0; n < 10; n++) second.append([`b${n}`], at(100 + n))
  const stepped = (ms: number) => ({ wallMs: at(ms).wallMs + 3600_000, monotonicMs: at(ms).monotonicMs })
  for (let n = 0; n < 10; n++) second.append([`c${n}`], stepped(200 + n))
  second.append([reading(0).repeat(300)], stepped(300))
  second.compact(stepped(LATER))
  const shape = second
    .items(stepped(LATER))
    .map(({ firstSequence, recordCount }) => [firstSequence - oldestSequence, recordCount])
  expect(shape).toEqual([
    [0, 4],
    [6, 4],
    [10, 10],
    [20, 10],
    [30, 1],
  ])
})

test('acknowledgements of the former blocks free the merged one when all of them have come', async () => {
  const spool = openStore(await tempDir(), at(0))
  for (let n = 0; n < 512; n++) spool.append([reading(n)], at(n))
  const { oldestSequence } = spool.lane()
  spool.compact(at(LATER))
  const [merged] = spool.items(at(LATER))
  const count = merged?.recordCount ?? 0
  expect(count).toBeGreaterThan(100)
  for (let n = count - 1; n > 0; n--) {
    spool.acknowledge([{ first: oldestSequence + n, last: oldestSequence + n }], at(LATER))
  }
  expect(spool.lane().records).toBe(512)
  // Read from the middle, the block comes whole.
  expect(spool.items(at(LATER), 'telemetry', oldestSequence + 3)[0]).toEqual(merged)
  spool.acknowledge([{ first: oldestSequence, last: oldestSequence }], at(LATER))
  expect(spool.lane()).toMatchObject({ records: 512 - count, oldestSequence: oldestSequence + count })
})

test('the spool merges by itself when nothing is acknowledged, and stops when the uplink drains', async () => {
  const clock = new ManualClock()
  const spool = await startSpool(await tempDir(), { clock, bootId: 'manual' })
  await appendEach(spool, numbered(1100))
  const nothing = [{ first: 1, last: 1 }]
  clock.advance(COMPACT_AFTER_MS - 500)
  spool.acknowledge('telemetry', nothing)
  clock.advance(1000)
  expect((await readItems(spool)).length).toBe(1100)
  clock.advance(COMPACT_AFTER_MS)
  await until(async () => {
    clock.advance(1000)
    return (await readItems(spool)).length < 200
  })
  expect(texts(await readRecords(spool))).toEqual(numbered(1100))
})
