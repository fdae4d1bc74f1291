/** A damaged block costs that block; a damaged database costs what was in it, and never a crash loop. */

import { closeSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Connection } from '../../../edge/spool/connection.ts'
import { QUARANTINE_BLOCKS_MAX, READ_ERRORS_MAX } from '../../../edge/spool/limits.ts'
import { openSqlite } from '../../../shared/sqlite.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import {
  append,
  appendEach,
  noise,
  numbered,
  readItems,
  readRecords,
  startSpool,
  stopSpool,
  texts,
} from '../../support/spool.ts'
import { at } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

/** Changes rows behind the spool's back. */
function tamper(dir: string, sql: string): void {
  const database = openSqlite(join(dir, 'spool.db'))
  database.exec(sql)
  database.close()
}

const flip = "x'ff' || substr(data, 2)"

test('a flipped byte sends the block to quarantine, a gap in its place, and the rest goes on', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  await appendEach(spool, ['one'])
  await append(spool, ['two', 'three'])
  await appendEach(spool, ['four'])
  const { oldestSequence } = spool.laneState().telemetry
  await stopSpool(spool)
  tamper(dir, `UPDATE telemetry SET data = CAST(${flip} AS BLOB) WHERE first_sequence = ${oldestSequence + 1}`)

  const again = await startSpool(dir)
  const items = await readItems(again)
  expect(items.map((item) => [item.kind, item.firstSequence - oldestSequence, item.recordCount])).toEqual([
    ['block', 0, 1],
    ['gap', 1, 2],
    ['block', 3, 1],
  ])
  const times = items.map(({ wallMs }) => wallMs) as [number, number, number]
  expect(items[1]).toMatchObject({ reason: 'corrupt', firstWallMs: expect.any(Number), lastWallMs: times[2] })
  expect(items[1]).toSatisfy(({ firstWallMs }) => times[0] <= firstWallMs && firstWallMs <= times[2])
  expect(again.stats()).toMatchObject({ quarantinedBlocks: 1, evicted: { corrupt: 2 }, failing: null })
  expect(again.stats().lanes.telemetry.records).toBe(2)
  await stopSpool(again)
  const database = openSqlite(join(dir, 'spool.db'))
  const kept = database.prepare('SELECT lane, first_sequence, problem, length(data) AS bytes FROM quarantine').all()
  expect(kept).toEqual([
    {
      lane: 'telemetry',
      first_sequence: oldestSequence + 1,
      problem: expect.stringContaining('checksum'),
      bytes: expect.any(Number),
    },
  ])
  database.close()
})

test.each([
  ['a wrong count', 'record_count = record_count + 1'],
  ['a wrong length', 'body_bytes = body_bytes - 1'],
  ['a wrong encoding', 'encoding = 1'],
])('%s is found like a wrong byte', async (_, change) => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  await appendEach(spool, ['one', 'two'])
  const { nextSequence } = spool.laneState().telemetry
  await stopSpool(spool)
  tamper(dir, `UPDATE telemetry SET ${change} WHERE first_sequence = ${nextSequence - 1}`)
  const again = await startSpool(dir)
  expect((await readItems(again)).map(({ kind }) => kind)).toEqual(['block', 'gap'])
  expect(again.laneState().telemetry.nextSequence).toBe(nextSequence)
})

test('the quarantine is bounded', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  const count = QUARANTINE_BLOCKS_MAX + 5
  await appendEach(spool, numbered(count))
  await stopSpool(spool)
  tamper(dir, `UPDATE telemetry SET data = CAST(${flip} AS BLOB)`)
  const again = await startSpool(dir)
  await readItems(again)
  expect(again.stats()).toMatchObject({ quarantinedBlocks: QUARANTINE_BLOCKS_MAX, evicted: { corrupt: count } })
  expect(await readItems(again)).toMatchObject([{ kind: 'gap', recordCount: count }])
})

test('a file that is no database is set aside, and a new spool begins with an epoch of its own', async () => {
  const dir = await tempDir()
  writeFileSync(join(dir, 'spool.db'), 'this was a spool once '.repeat(1000))
  const spool = await startSpool(dir)
  expect(spool.stats().damagedFile).toMatch(/^spool\.db\.damaged-\d{8}T\d{6}Z$/)
  expect(readdirSync(dir)).toContain(spool.stats().damagedFile)
  await append(spool, ['goes on'])
  expect(texts(await readRecords(spool))).toEqual(['goes on'])
})

test('only so many damaged files are kept', async () => {
  const dir = await tempDir()
  for (let n = 0; n < 4; n++) {
    writeFileSync(join(dir, 'spool.db'), 'broken '.repeat(1000))
    await stopSpool(await startSpool(dir))
  }
  expect(readdirSync(dir).filter((name) => name.includes('damaged')).length).toBe(2)
})

test('a database that is found damaged while it runs is replaced, and the others are told', async () => {
  const dir = await tempDir()
  const spool = await startSpool(dir)
  // Enough that what is read later is not in SQLite's cache.
  for (let n = 0; n < 40; n++) await append(spool, [noise(200_000)])
  const { epoch } = spool
  await stopSpool(spool)
  const running = await startSpool(dir)
  let replaced = 0
  running.onReplaced(() => replaced++)
  damagePages(join(dir, 'spool.db'))
  const outcome = await readItems(running).catch((error: unknown) => error)
  expect(outcome).toMatchObject({ code: 'SPOOL_READ_FAILED', retryable: true })
  await until(() => replaced === 1)
  expect(running.epoch).not.toBe(epoch)
  expect(running.stats().damagedFile).not.toBeNull()
  expect(await append(running, ['goes on'])).toEqual([null])
  expect(texts(await readRecords(running))).toEqual(['goes on'])
  expect(running.stats().failing).toBeNull()
})

test('a disk that cannot read the file is given up on, not asked for ever', async () => {
  const dir = await tempDir()
  const connection = new Connection(dir, 'boot-a', seededRandom(1))
  onTestFinished(() => connection.close())
  connection.open(at(0))
  const epoch = connection.tables?.epoch
  const unreadable = Object.assign(new Error('disk I/O error'), { name: 'SqliteError', code: 'SQLITE_IOERR_READ' })
  for (let n = 1; n <= READ_ERRORS_MAX; n++) {
    expect(connection.tables?.epoch).toBe(epoch)
    const use = () =>
      connection.use(at(n), () => {
        throw unreadable
      })
    expect(use).toThrow(unreadable)
  }
  expect(connection.damagedFile).not.toBeNull()
  expect(connection.use(at(99), (tables) => tables.epoch)).not.toBe(epoch)
})

/** Overwrites every page of b-tree kind but the schema's, as a dying card does. */
function damagePages(path: string): void {
  const handle = openSync(path, 'r+')
  for (let page = 1; page < 2500; page++) writeSync(handle, Buffer.alloc(4096, 0x5a), 0, 4096, page * 4096)
  closeSync(handle)
}
