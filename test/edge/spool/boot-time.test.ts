/** Records keep their true time through wrong clocks, steps and restarts. */

import { expect, test } from 'vitest'
import type { Instant } from '../../../edge/spool/boot-time.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { append, readRecords, startSpool, stopSpool } from '../../support/spool.ts'
import { at, NOON, openStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'

const HOUR = 3600_000
/** A gateway without a battery: its clock begins at 1970 and runs on from there. */
const unset = (ms: number): Instant => ({ wallMs: 10_000 + ms, monotonicMs: 60_000 + ms })

const wallTimes = (records: readonly { wallMs: number }[]) => records.map(({ wallMs }) => wallMs - NOON)

test('what was stored before the clock was set comes out with its true time', async () => {
  const spool = openStore(await tempDir(), unset(0))
  spool.append(['in 1970'], unset(0))
  spool.append(['also in 1970'], unset(5_000))
  expect(spool.items(unset(6_000))[0]).toMatchObject({ wallMs: 10_000, monotonicMs: 60_000 })
  spool.append(['the time is known'], at(9_000))
  expect(wallTimes(spool.records(at(9_000)))).toEqual([0, 5_000, 9_000])
  expect(spool.lane().oldestWallMs).toBe(NOON)
})

test('the time learned is remembered for the boot, through restarts of the process and of the machine', async () => {
  const dir = await tempDir()
  const first = openStore(dir, unset(0))
  first.append(['in 1970'], unset(0))
  // Learned by a tend, without another record.
  first.store.tend({ compact: false, probe: false }, at(8_000))
  first.store.close()

  const later = openStore(dir, at(20_000))
  expect(wallTimes(later.records(at(20_000)))).toEqual([0])
  later.store.close()

  const reboot = { wallMs: NOON + 90 * HOUR, monotonicMs: 15_000 }
  const rebooted = openStore(dir, reboot, { bootId: 'boot-b' })
  expect(wallTimes(rebooted.records(reboot))).toEqual([0])
  expect(rebooted.items(reboot)[0]).toMatchObject({ bootId: 'boot-a' })
})

test('a process that never learned the time is corrected by its successor in the same boot', async () => {
  const dir = await tempDir()
  const first = openStore(dir, unset(0))
  first.append(['in 1970'], unset(0))
  first.store.close()
  const second = openStore(dir, unset(30_000))
  second.append(['still 1970'], unset(31_000))
  second.store.tend({ compact: false, probe: false }, at(40_000))
  expect(wallTimes(second.records(at(40_000)))).toEqual([0, 31_000])
})

test('a boot that never learned the time keeps what it had', async () => {
  const dir = await tempDir()
  const first = openStore(dir, unset(0))
  first.append(['in 1970'], unset(0))
  first.store.close()
  const second = openStore(dir, at(0), { bootId: 'boot-b' })
  expect(second.records(at(0))[0]?.wallMs).toBe(10_000)
})

test('small corrections of the clock change nothing', async () => {
  const spool = openStore(await tempDir(), at(0))
  spool.append(['a'], at(0))
  spool.store.tend({ compact: false, probe: false }, { ...at(1000), wallMs: at(1000).wallMs + 1500 })
  expect(wallTimes(spool.records(at(1000)))).toEqual([0])
})

test('a step of the wall clock gives nothing up for its age, in this boot or of an earlier one', async () => {
  const dir = await tempDir()
  const before = openStore(dir, at(0), { ageMaxMs: 24 * HOUR })
  before.append(['earlier boot'], at(0))
  before.store.close()
  const spool = openStore(dir, at(1000), { ageMaxMs: 24 * HOUR, bootId: 'boot-b' })
  spool.append(['this boot'], at(2000))
  const years = { wallMs: NOON + 10 * 365 * 24 * HOUR, monotonicMs: at(3000).monotonicMs }
  spool.store.tend({ compact: false, probe: false }, years)
  spool.store.tend(
    { compact: false, probe: false },
    { wallMs: years.wallMs + 60_000, monotonicMs: years.monotonicMs + 60_000 },
  )
  expect(spool.records(at(70_000)).length).toBe(2)
  // The clock is put right, and stays right.
  spool.store.tend({ compact: false, probe: false }, at(70_000))
  spool.store.tend({ compact: false, probe: false }, at(HOUR))
  expect(spool.records(at(HOUR)).length).toBe(2)
  // Age is what it is in the end: of the earlier boot by the wall clock, of this one by the monotonic.
  spool.store.tend({ compact: false, probe: false }, at(24 * HOUR + 1500))
  expect(spool.records(at(25 * HOUR)).map(({ text }) => text)).toEqual(['this boot'])
  spool.store.tend({ compact: false, probe: false }, at(24 * HOUR + 2500))
  expect(spool.records(at(25 * HOUR))).toEqual([])
})

test('boots that no block needs are forgotten', async () => {
  const dir = await tempDir()
  for (let boot = 0; boot < 5; boot++) {
    const spool = openStore(dir, at(boot * HOUR), { bootId: `boot-${boot}` })
    spool.append([`${boot}`], at(boot * HOUR))
    if (boot === 3) {
      const { oldestSequence } = spool.lane()
      spool.acknowledge([{ first: oldestSequence, last: oldestSequence + 2 }], at(boot * HOUR))
    }
    spool.store.close()
  }
  const spool = openStore(dir, at(6 * HOUR), { bootId: 'boot-5' })
  expect(spool.items(at(6 * HOUR)).map((item) => item.kind === 'block' && item.bootId)).toEqual(['boot-3', 'boot-4'])
  const { openSqlite } = await import('../../../shared/sqlite.ts')
  spool.store.close()
  const database = openSqlite(`${dir}/spool.db`)
  expect(database.prepare('SELECT boot_id FROM boots ORDER BY id').pluck().all()).toEqual([
    'boot-3',
    'boot-4',
    'boot-5',
  ])
  database.close()
})

test('the spool takes its times from the clock it is given', async () => {
  const dir = await tempDir()
  const clock = new ManualClock(5_000)
  const spool = await startSpool(dir, { clock, bootId: 'manual' })
  await append(spool, ['early'])
  clock.advance(2_000)
  clock.stepWall(NOON)
  await append(spool, ['late'])
  const records = await readRecords(spool)
  expect(records.map(({ wallMs }) => wallMs)).toEqual([NOON + 5_000, NOON + 7_000])
  await stopSpool(spool)
})

test('what a boot stored that never learned the time is as old as the present boot at least, not fifty years', async () => {
  const dir = await tempDir()
  const before = openStore(dir, unset(0))
  before.append(['in 1970'], unset(0))
  before.store.close()
  const minutes = (count: number): Instant => ({ wallMs: NOON + count * 60_000, monotonicMs: count * 60_000 })
  const spool = openStore(dir, minutes(1), { ageMaxMs: 24 * HOUR, bootId: 'boot-b' })
  for (const count of [4, 6, 60 * 23]) {
    spool.store.tend({ compact: false, probe: false }, minutes(count))
    expect(spool.records(minutes(count))).toHaveLength(1)
  }
  spool.store.tend({ compact: false, probe: false }, minutes(60 * 24 + 1))
  expect(spool.records(minutes(60 * 24 + 1))).toEqual([])
})
