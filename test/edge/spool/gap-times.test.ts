/** For which stretch of time records were lost. */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Instant } from '../../../edge/spool/boot-time.ts'
import type { StoredGap } from '../../../edge/spool/item.ts'
import { LATE_END_MS } from '../../../edge/spool/limits.ts'
import { itemMessage } from '../../../edge/uplink/wire.ts'
import { GapReason } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { openSqlite } from '../../../shared/sqlite.ts'
import { at, NOON, openStore, type TestStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'

const HOUR = 3600_000
const LIMITS = { ageMaxMs: 10 * HOUR }

const gapsOf = (spool: TestStore, now: Instant): StoredGap[] =>
  spool.items(now).filter((item): item is StoredGap => item.kind === 'gap')

/** Count, and first and last time after noon, of each gap. */
function stretches(spool: TestStore, now: Instant) {
  const afterNoon = (ms: number | null) => (ms === null ? null : ms - NOON)
  return gapsOf(spool, now).map((gap) => [gap.recordCount, afterNoon(gap.firstWallMs), afterNoon(gap.lastWallMs)])
}

function giveUp(spool: TestStore, now: Instant): void {
  spool.store.tend({ compact: false, probe: false }, now)
}

function sql(dir: string, ...statements: string[]): void {
  const database = openSqlite(join(dir, 'spool.db'))
  for (const statement of statements) database.exec(statement)
  database.close()
}

test('joined gaps join their stretches, and the silence after them does not count', async () => {
  const spool = openStore(await tempDir(), at(0), LIMITS)
  for (let n = 0; n < 5; n++) spool.append(['a', 'b'], at(n * HOUR))
  spool.append(['much later'], at(100 * HOUR))
  giveUp(spool, at(12.5 * HOUR))
  expect(stretches(spool, at(13 * HOUR))).toEqual([[10, 0, 4 * HOUR]])
})

test('of a merged block its last record counts', async () => {
  const spool = openStore(await tempDir(), at(0), LIMITS)
  for (let n = 0; n < 600; n++) spool.append([`{"n":${n},"filling":"${'x'.repeat(300)}"}`], at(n * 2_000))
  spool.compact(at(HOUR))
  const [first] = spool.items(at(HOUR))
  const count = first?.recordCount ?? 0
  expect(count).toBeGreaterThan(50)
  giveUp(spool, at(10 * HOUR + 1))
  expect(stretches(spool, at(10 * HOUR + 1))).toEqual([[count, 0, (count - 1) * 2_000]])
})

test('where records follow each other closely the end is at most a second late', async () => {
  const spool = openStore(await tempDir(), at(0), LIMITS)
  spool.append(['a'], at(0))
  spool.append(['b'], at(LATE_END_MS))
  giveUp(spool, at(10 * HOUR + 1))
  expect(stretches(spool, at(10 * HOUR + 1))).toEqual([[1, 0, LATE_END_MS]])
})

test('parts of a gap keep the stretch of the whole', async () => {
  const spool = openStore(await tempDir(), at(0), LIMITS)
  for (let n = 0; n < 5; n++) spool.append(['a'], at(n * HOUR))
  giveUp(spool, at(20 * HOUR))
  const { oldestSequence } = spool.lane()
  spool.acknowledge([{ first: oldestSequence + 2, last: oldestSequence + 2 }], at(20 * HOUR))
  expect(stretches(spool, at(20 * HOUR))).toEqual([
    [2, 0, 4 * HOUR],
    [2, 0, 4 * HOUR],
  ])
})

test('a gap of a gateway that booted in 1970 gets its true times once the clock is set, in whichever boot it is sent', async () => {
  const dir = await tempDir()
  const unset = (ms: number): Instant => ({ wallMs: ms, monotonicMs: at(ms).monotonicMs })
  const spool = openStore(dir, unset(0), LIMITS)
  spool.append(['a'], unset(0))
  spool.append(['b'], unset(HOUR))
  giveUp(spool, unset(12 * HOUR))
  expect(gapsOf(spool, unset(12 * HOUR))).toMatchObject([{ firstWallMs: 0, lastWallMs: HOUR }])
  giveUp(spool, at(13 * HOUR))
  expect(stretches(spool, at(13 * HOUR))).toEqual([[2, 0, HOUR]])
  spool.store.close()
  // No block needs the first boot any more, but the gap does.
  const second = openStore(dir, at(14 * HOUR), { ...LIMITS, bootId: 'boot-b' })
  second.append(['c'], at(14 * HOUR))
  second.store.close()
  const third = openStore(dir, at(30 * HOUR), { ...LIMITS, bootId: 'boot-c' })
  giveUp(third, at(31 * HOUR))
  third.append(['d'], at(31 * HOUR))
  expect(stretches(third, at(32 * HOUR))[0]?.slice(1, 2)).toEqual([0])
  expect(third.lane().records).toBeGreaterThan(0)
})

test('of a corrupt block what is known without reading it counts', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0))
  for (const hour of [0, 1, 5]) spool.append(['a', 'b'], at(hour * HOUR))
  const { oldestSequence } = spool.lane()
  spool.store.close()
  sql(dir, `UPDATE telemetry SET crc32c = crc32c + 1 WHERE first_sequence > ${oldestSequence}`)
  const again = openStore(dir, at(6 * HOUR))
  // The first one ends where the next one begins, the last one when it was found.
  expect(stretches(again, at(7 * HOUR))).toEqual([
    [2, HOUR, 5 * HOUR],
    [2, 5 * HOUR, 7 * HOUR],
  ])
  expect(stretches(again, at(7 * HOUR))).toEqual([[4, HOUR, 7 * HOUR]])
})

test('gaps of an older version have no times, and join with those that have', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0), LIMITS)
  for (let n = 0; n < 4; n++) spool.append(['a'], at(n * HOUR))
  giveUp(spool, at(11.5 * HOUR))
  expect(stretches(spool, at(11.5 * HOUR))).toEqual([[2, 0, HOUR]])
  spool.store.close()
  // As it wrote them.
  sql(dir, 'UPDATE telemetry SET boot = NULL, data = NULL WHERE gap_reason IS NOT NULL')
  const again = openStore(dir, at(11.6 * HOUR), LIMITS)
  expect(stretches(again, at(11.6 * HOUR))).toEqual([[2, null, null]])
  expect(itemMessage(gapsOf(again, at(11.6 * HOUR))[0] as StoredGap, true).message?.value).toMatchObject({
    reason: GapReason.AGE,
    firstWallClockMs: undefined,
    lastWallClockMs: undefined,
  })
  giveUp(again, at(20 * HOUR))
  expect(stretches(again, at(20 * HOUR))).toEqual([[4, null, 3 * HOUR]])
})

test('a row with impossible times is sent without them', async () => {
  const dir = await tempDir()
  const spool = openStore(dir, at(0), LIMITS)
  spool.append(['a'], at(0))
  giveUp(spool, at(20 * HOUR))
  spool.store.close()
  for (const data of ["x'00'", `x'${'ff'.repeat(48)}'`, `x'${'7f'.repeat(48)}'`, `x'${'c0'.repeat(48)}'`]) {
    sql(dir, `UPDATE telemetry SET data = ${data}`)
    const again = openStore(dir, at(21 * HOUR), LIMITS)
    const [gap] = gapsOf(again, at(21 * HOUR))
    const { value } = itemMessage(gap as StoredGap, true).message ?? {}
    expect(value).toMatchObject({ firstWallClockMs: undefined, lastWallClockMs: undefined })
    again.store.close()
  }
})
