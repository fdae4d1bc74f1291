/** The spool as the broker and the uplink see it. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lastSequence } from '../../../edge/spool/item.ts'
import { RECORD_BYTES_MAX } from '../../../shared/limits.ts'
import {
  append,
  appendEach,
  newSpool,
  noise,
  numbered,
  readItems,
  readRecords,
  startSpool,
  stopSpool,
  TOPIC,
  texts,
} from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

test('records come back in order with contiguous sequences, topics and bytes unchanged', async () => {
  const spool = await startSpool(await tempDir())
  await append(spool, numbered(1000))
  await append(spool, ['odd \u0000 ünïcode'], { topic: 'sites/2/devices/MTR-9/status' })
  const records = await readRecords(spool)
  expect(texts(records)).toEqual([...numbered(1000), 'odd \u0000 ünïcode'])
  const first = records[0]?.sequence ?? 0
  expect(records.map(({ sequence }) => sequence)).toEqual(records.map((_, index) => first + index))
  expect(records.at(0)?.topic).toBe(TOPIC)
  expect(records.at(-1)?.topic).toBe('sites/2/devices/MTR-9/status')
})

test('the payload is copied at once', async () => {
  const spool = await startSpool(await tempDir())
  const payload = Buffer.from('before')
  const stored = append(spool, [payload])
  payload.fill('x')
  await stored
  expect(texts(await readRecords(spool))).toEqual(['before'])
})

test('sequences of a new spool begin at random beyond 2^32, and go on after a restart', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  const before = spool.laneState()
  expect(before.telemetry.nextSequence).toBeGreaterThanOrEqual(2 ** 32)
  expect(before.priority.nextSequence).not.toBe(before.telemetry.nextSequence)
  expect(spool.epoch).toMatch(/^[0-9a-f]{16}$/)
  await append(spool, numbered(5))
  await stopSpool(spool)

  const again = await startSpool(dir)
  expect(again.epoch).toBe(spool.epoch)
  expect(again.laneState().telemetry).toEqual({
    oldestSequence: before.telemetry.nextSequence,
    nextSequence: before.telemetry.nextSequence + 5,
  })
  await append(again, numbered(5, 5))
  expect(texts(await readRecords(again))).toEqual(numbered(10))

  const other = await startSpool(await tempDir())
  expect(other.epoch).not.toBe(spool.epoch)
  expect(other.laneState().telemetry.nextSequence).not.toBe(before.telemetry.nextSequence)
})

test('lanes have sequences of their own', async () => {
  const spool = await startSpool(await tempDir())
  await Promise.all([
    append(spool, ['t1', 't2'], { lane: 'telemetry' }),
    append(spool, ['p1'], { lane: 'priority' }),
    append(spool, ['t3'], { lane: 'telemetry' }),
  ])
  expect(texts(await readRecords(spool, 'telemetry'))).toEqual(['t1', 't2', 't3'])
  expect(texts(await readRecords(spool, 'priority'))).toEqual(['p1'])
})

test('what is appended while a commit is in flight shares the next one', async () => {
  const spool = await startSpool(await tempDir())
  const settled: string[] = []
  spool.onSettled(() => settled.push('settled'))
  spool.onAppended((lane) => settled.push(lane))
  const outcomes = append(spool, numbered(1))
  await new Promise((resolve) => setImmediate(resolve))
  await Promise.all([outcomes, append(spool, numbered(500)), append(spool, ['up'], { lane: 'priority' })])
  expect(spool.stats().commits).toBe(2)
  expect(settled).toEqual(['settled', 'telemetry', 'settled', 'telemetry', 'priority'])
})

test('a body that grows beyond the limit becomes several blocks of one commit', async () => {
  const spool = await startSpool(await tempDir(), { blockBytesMax: 4096 })
  await append(spool, numbered(2000))
  const items = await readItems(spool)
  expect(items.length).toBeGreaterThan(4)
  for (const item of items) expect(item.kind === 'block' && item.bodyBytes).toBeLessThanOrEqual(4096)
  expect(spool.stats().commits).toBe(1)
  expect(texts(await readRecords(spool))).toEqual(numbered(2000))
})

test('the largest record is stored, a larger one is refused in its turn', async () => {
  const spool = await startSpool(await tempDir())
  const outcomes = await append(spool, ['a', noise(RECORD_BYTES_MAX), noise(RECORD_BYTES_MAX + 1), 'b'])
  expect(outcomes.map((error) => error?.code ?? null)).toEqual([null, null, 'RECORD_TOO_LARGE', null])
  expect((await readRecords(spool)).length).toBe(3)
})

test('acknowledged blocks go away, the lane state follows, and sequences never come again', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  await appendEach(spool, numbered(6))
  const [first, second, third] = await readItems(spool)
  if (!first || !second || !third) throw new Error('three blocks')
  // Out of order: the second and third stay reachable through a hole.
  spool.acknowledge('telemetry', [{ first: second.firstSequence, last: lastSequence(third) }])
  await until(() => spool.stats().lanes.telemetry.records === 4)
  expect(texts(await readRecords(spool))).toEqual(['{"n":0}', '{"n":3}', '{"n":4}', '{"n":5}'])
  const { nextSequence } = spool.laneState().telemetry
  spool.acknowledge('telemetry', [{ first: 0, last: nextSequence - 1 }])
  await until(() => spool.stats().lanes.telemetry.records === 0)
  expect(spool.laneState().telemetry).toEqual({ oldestSequence: nextSequence, nextSequence })
  expect(spool.stats().lanes.telemetry.bytes).toBe(0)
  await stopSpool(spool)

  const again = await startSpool(dir)
  expect(again.laneState().telemetry).toEqual({ oldestSequence: nextSequence, nextSequence })
})

test('an acknowledgement of a part of a block waits for the rest', async () => {
  const spool = await startSpool(await tempDir())
  await append(spool, numbered(10))
  const { oldestSequence, nextSequence } = spool.laneState().telemetry
  spool.acknowledge('telemetry', [{ first: oldestSequence + 5, last: nextSequence - 1 }])
  await append(spool, ['x'])
  expect(spool.stats().lanes.telemetry.records).toBe(11)
  spool.acknowledge('telemetry', [{ first: oldestSequence, last: oldestSequence + 4 }])
  await until(() => spool.stats().lanes.telemetry.records === 1)
  expect(texts(await readRecords(spool))).toEqual(['x'])
})

test('an acknowledgement of very many blocks is worked off in steps', async () => {
  const spool = await startSpool(await tempDir(), { blockBytesMax: 64 })
  await append(spool, numbered(5000))
  const { oldestSequence, nextSequence } = spool.laneState().telemetry
  spool.acknowledge('telemetry', [{ first: oldestSequence, last: nextSequence - 1 }])
  await until(() => spool.stats().lanes.telemetry.records === 0)
  expect(spool.stats().commits).toBeGreaterThan(2)
})

test('a read honours its limits and never comes back empty-handed', async () => {
  const spool = await startSpool(await tempDir())
  await appendEach(spool, numbered(10))
  const { oldestSequence } = spool.laneState().telemetry
  const one = await spool.readAfter('telemetry', oldestSequence - 1, { bytesMax: 1 })
  expect(one.map(({ firstSequence }) => firstSequence)).toEqual([oldestSequence])
  const through = await spool.readAfter('telemetry', oldestSequence, {
    bytesMax: 1e6,
    throughSequence: oldestSequence + 3,
  })
  expect(through.map(({ firstSequence }) => firstSequence - oldestSequence)).toEqual([1, 2, 3])
  expect(await spool.readAfter('telemetry', oldestSequence + 9, { bytesMax: 1e6 })).toEqual([])
})

test('accepting turns false at the limit of what waits, and true again after the commit', async () => {
  const spool = await startSpool(await tempDir(), { pendingBytesMax: 100_000 })
  let again = 0
  spool.onAccepting(() => again++)
  const stored = append(spool, [noise(60_000), noise(60_000)])
  expect(spool.accepting).toBe(false)
  expect(spool.pendingBytes).toBeGreaterThan(120_000)
  await stored
  await until(() => again === 1)
  expect(spool.accepting).toBe(true)
  expect(spool.pendingBytes).toBe(0)
})

test('stopping commits what was appended and refuses what comes later', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  const stored = append(spool, numbered(100))
  await stopSpool(spool)
  expect((await stored).every((error) => error === null)).toBe(true)
  expect((await append(spool, ['late']))[0]?.code).toBe('SPOOL_NOT_RUNNING')
  await expect(spool.readAfter('telemetry', 0, { bytesMax: 1 })).rejects.toMatchObject({ retryable: true })
  await stopSpool(spool)
  expect(texts(await readRecords(await startSpool(dir)))).toEqual(numbered(100))
})

test('constructing touches nothing; starting and stopping twice is harmless', async () => {
  const dir = join(await tempDir(), 'spool')
  const spool = newSpool(dir)
  expect(() => readdirSync(dir)).toThrow()
  await stopSpool(spool)
  await spool.start()
  await spool.start()
  await append(spool, ['a'])
  await Promise.all([stopSpool(spool), stopSpool(spool)])
})

test('a second spool on the same directory is refused with the next step', async () => {
  const dir = await tempDir()
  await startSpool(dir)
  await expect(startSpool(dir)).rejects.toMatchObject({ code: 'SPOOL_LOCKED', hint: expect.stringContaining('dir') })
})

test('a directory that cannot be made is reported with the next step', async () => {
  await expect(startSpool('/proc/no/spool')).rejects.toMatchObject({ code: 'SPOOL_OPEN_FAILED', retryable: true })
})

test('when the thread dies everything pending fails, and the spool comes back by itself', async () => {
  const spool = await startSpool(await tempDir())
  await append(spool, numbered(3))
  const lost = append(spool, ['lost'])
  const read = spool.readAfter('telemetry', 0, { bytesMax: 1 })
  const worker = spool['thread']?.['worker']
  worker?.terminate()
  const [error] = await lost
  expect(error).toMatchObject({ code: 'SPOOL_WRITE_FAILED', retryable: true })
  await expect(read).rejects.toMatchObject({ retryable: true })
  expect(spool.stats().failing).toContain('thread')
  await until(async () => (await append(spool, ['back']))[0] === null)
  expect(spool.stats().failing).toBeNull()
  expect(texts(await readRecords(spool))).toEqual([...numbered(3), 'back'])
})
