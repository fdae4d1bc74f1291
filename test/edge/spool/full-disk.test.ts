/** A disk that is really full. */

import { expect } from 'vitest'
import { fillDisk, smallDisk, testWithSmallDisk } from '../../support/small-disk.ts'
import { append, readRecords, startSpool, stopSpool, texts } from '../../support/spool.ts'

const large = (n: number, bytes = 40_000) =>
  Buffer.concat([Buffer.from(`${n}:`), crypto.getRandomValues(new Uint8Array(Math.min(bytes, 65_536)))])
const numbers = (records: readonly string[]) => records.map((text) => Number(text.split(':')[0]))

testWithSmallDisk('the oldest telemetry makes room when the disk is full', async () => {
  const spool = await startSpool(await smallDisk())
  const acknowledged: number[] = []
  for (let n = 0; n < 200; n++) if ((await append(spool, [large(n)]))[0] === null) acknowledged.push(n)
  expect(acknowledged.length).toBe(200)
  const kept = numbers(texts(await readRecords(spool)))
  expect(kept.length).toBeGreaterThan(20)
  expect(kept).toEqual(acknowledged.slice(-kept.length))
  expect(spool.stats()).toMatchObject({ failing: null, evicted: { disk: 200 - kept.length } })
})

testWithSmallDisk('what finds no room is refused until there is room, and what was acknowledged stays', async () => {
  const dir = await smallDisk()
  const spool = await startSpool(dir)
  await append(spool, [large(0)])
  const makeRoom = fillDisk(dir)
  const outcomes = []
  // Now small enough for the pages that giving up the first one frees, now not.
  for (let n = 1; n <= 30; n++) outcomes.push(...(await append(spool, [large(n, n % 3 === 0 ? 65_000 : 30_000)])))
  const refused = outcomes.filter((error) => error !== null)
  expect(refused.length).toBeGreaterThan(0)
  expect(refused.every((error) => error.code === 'SPOOL_WRITE_FAILED' && error.retryable && error.hint)).toBe(true)
  makeRoom()
  expect(await append(spool, [large(31)])).toEqual([null])
  expect(spool.stats().failing).toBeNull()
  const acknowledged = [0, ...outcomes.flatMap((error, n) => (error === null ? [n + 1] : [])), 31]
  const kept = numbers(texts(await readRecords(spool)))
  expect(kept.length + spool.stats().evicted.disk).toBe(acknowledged.length)
  expect(kept).toEqual(acknowledged.slice(-kept.length))
  await stopSpool(spool)

  // Starting on a full disk works too: what is there can be told, and stored once there is room.
  const again = fillDisk(dir)
  const restarted = await startSpool(dir)
  expect(restarted.laneState()).toEqual(spool.laneState())
  again()
  expect(await append(restarted, [large(32)])).toEqual([null])
  expect(numbers(texts(await readRecords(restarted))).at(-1)).toBe(32)
})
