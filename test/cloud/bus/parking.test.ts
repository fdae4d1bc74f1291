/** What becomes of records that are set aside, on a clock that the test moves. */

import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { DEVICE_TELEMETRY, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'
import {
  errorsOf,
  GROUP,
  type Handle,
  moving,
  record,
  rowsOf,
  SETTINGS,
  settled,
  startCore,
  texts,
} from './support/fed-consumer.ts'

await describeOnEveryDatabase('a record that is set aside', (databases) => {
  test('keeps the others waiting for the tries at once and no longer', async () => {
    const clock = new ManualClock()
    const handled: string[] = []
    let tries = 0
    const handle: Handle = async (items) => {
      if (texts(items).includes('poison')) {
        if (items.length === 1) tries++
        throw new BusbarError('refused', { code: 'REFUSED' })
      }
      handled.push(...texts(items))
    }
    const core = await startCore(await databases.open(), handle, { clock })
    let delivered = false
    const first = core.deliver(
      record(0, 'a', 'poison'),
      record(1, 'b', '1'),
      record(2, 'a', 'behind'),
      record(3, null, '2'),
    )
    void first.then(() => {
      delivered = true
    })
    // The others of the batch wait for nothing, the batch for two pauses.
    await until(() => handled.length === 2)
    expect(tries).toBe(1)
    clock.advance(100)
    await until(() => tries === 2)
    clock.advance(100)
    await until(() => delivered)
    expect(tries).toBe(3)
    // Those of later batches do not wait at all.
    await core.deliver(record(4, 'b', '3'), record(5, 'a', 'behind too'))
    expect(handled).toEqual(['1', '2', '3'])
    // Two looks at the table are some milliseconds apart.
    await moving(clock, 1, () => core.consumer.stats().parkedRecords === 3)
    expect(core.consumer.stats()).toMatchObject({ parkedKeys: 1, failing: null, deadLettered: {} })
    expect(core.parking.stats().parked).toMatchObject([{ group: GROUP, topic: TASK_REQUESTED, records: 3, keys: 1 }])
    await moving(clock, 50, () => core.letters.length === 1 && handled.length === 5)
    expect(handled.slice(3)).toEqual(['behind', 'behind too'])
    expect(errorsOf(core.letters)).toMatchObject([{ code: 'REFUSED', retryCount: 5 }])
    await moving(clock, 50, () => core.consumer.stats().parkedRecords === 0)
    expect(core.consumer.stats()).toMatchObject({ handled: 5, deadLettered: { REFUSED: 1 }, retried: 2 })
  })

  test('of a device is given up after fewer tries', async () => {
    const clock = new ManualClock()
    const handle = async () => Promise.reject(new Error('poison'))
    const core = await startCore(await databases.open(), handle, { clock, topic: DEVICE_TELEMETRY })
    void core.deliver(record(0, 'a', '{"a":1}', DEVICE_TELEMETRY))
    await moving(clock, 50, () => core.letters.length === 1)
    expect(errorsOf(core.letters)).toMatchObject([{ code: 'HANDLER_FAILED', retryCount: 4 }])
    expect(core.letters[0]?.headers).toMatchObject({ from: 'a', source: GROUP, originalOffset: '0' })
  })

  test('waits while something is away, which uses up no try and shows', async () => {
    const clock = new ManualClock()
    let mood: 'poison' | 'away' | 'well' = 'poison'
    let calls = 0
    const handled: string[] = []
    const handle: Handle = async (items) => {
      calls++
      if (mood === 'poison') throw new Error('poison')
      if (mood === 'away') throw new BusbarError('the store is away', { code: 'AWAY', retryable: true })
      handled.push(...texts(items))
    }
    const core = await startCore(await databases.open(), handle, { clock })
    let delivered = false
    void core.deliver(record(0, 'a', '0'), record(1, 'a', '1')).then(() => {
      delivered = true
    })
    await moving(clock, 20, () => delivered)
    expect(calls).toBeGreaterThan(2)
    mood = 'away'
    const before = calls
    await moving(clock, 500, () => calls >= before + 5)
    expect(core.consumer.stats()).toMatchObject({ failing: 'the store is away', retried: 0, deadLettered: {} })
    mood = 'well'
    await moving(clock, 500, () => handled.length === 2)
    expect(handled).toEqual(['0', '1'])
    await moving(clock, 50, () => core.consumer.stats().failing === null)
    expect(core.letters).toEqual([])
  })

  test('is hurried while too many are, and at twice as many nothing is added', async () => {
    const clock = new ManualClock()
    const settings = { ...SETTINGS, parkedMax: 10, retryBaseMs: 1e6, retryCapMs: 1e6 }
    let poison = true
    const handle: Handle = async () => {
      if (poison) throw new Error('poison')
    }
    const database = await databases.open()
    // Nothing takes them out as long as this core retries nothing.
    const idle = await startCore(database, handle, { clock, settings, group: 'another' })
    await idle.parking.stop()
    const lanes = new Map([
      ['"a"', { lane: '"a"', tries: 3, errorCode: 'REFUSED', error: 'no', dueAtMs: clock.wallMs() + 1e6 }],
    ])
    const records = Array.from({ length: 20 }, (_, n) => ({ lane: '"a"', record: record(n, 'a', String(n)) }))
    await idle.parking.setAside(GROUP, TASK_REQUESTED, lanes, records.slice(0, 15))
    await idle.parking.setAside(GROUP, TASK_REQUESTED, lanes, records.slice(15))
    await expect(idle.parking.setAside(GROUP, TASK_REQUESTED, lanes, records.slice(19))).rejects.toMatchObject({
      code: 'PARKING_FULL',
      retryable: true,
    })
    const core = await startCore(database, handle, { clock, settings })
    // A pause would be many minutes long.
    await moving(clock, 10, () => core.letters.length === 10)
    expect(clock.monotonicMs()).toBeLessThan(60_000)
    expect(core.consumer.stats().hurried).toBeGreaterThan(10)
    expect(errorsOf(core.letters).map(({ retryCount }) => retryCount)).toEqual(Array.from({ length: 10 }, () => 5))
    // With the rest there is time.
    await settled()
    expect(core.letters.length).toBe(10)
    poison = false
    await moving(clock, 10_000, () => core.consumer.stats().handled === 10)
  })

  test('does not come back when its batch does, as long as one behind it is still there', async () => {
    const database = await databases.open()
    const batch = [record(0, 'a', '0'), record(1, 'a', '1'), record(2, 'a', '2'), record(3, 'a', '3')]
    const clock = new ManualClock()
    const handled: string[] = []
    let poison = '1'
    const handle: Handle = async (items) => {
      if (texts(items).includes(poison)) throw new Error('poison')
      handled.push(...texts(items))
    }
    const core = await startCore(database, handle, { clock })
    let delivered = 0
    const deliver = () => void core.deliver(...batch).then(() => delivered++)
    deliver()
    await moving(clock, 20, () => delivered === 1)
    expect((await rowsOf(database)).map((row) => row.record_offset)).toEqual([1, 2, 3])
    poison = '3'
    await moving(clock, 50, () => handled.includes('2'))
    await until(async () => (await rowsOf(database)).length === 1)
    deliver()
    await moving(clock, 1, () => delivered === 2)
    expect((await rowsOf(database)).map((row) => row.record_offset)).toEqual([3])
    // A topic that was made anew counts from 0 again, with later times.
    void core.deliver({ ...record(0, 'a', 'new 0'), timestampMs: 999_999 }).then(() => delivered++)
    await moving(clock, 1, () => delivered === 3)
    expect((await rowsOf(database)).map((row) => row.record_offset)).toEqual([3, 0])
    await moving(clock, 50, () => handled.includes('new 0'))
    expect(handled).toEqual(['0', '1', '2', 'new 0'])
    expect(core.letters.length).toBe(1)
  })

  test('is the same afterwards, whatever its key and value are', async () => {
    const seen: ConsumedRecord[] = []
    let poison = true
    const handle: Handle = async (items) => {
      if (poison) throw new Error('poison')
      seen.push(...items.map((item) => item.record))
    }
    const core = await startCore(await databases.open(), handle, {
      settings: { ...SETTINGS, retryBaseMs: 10, retries: 99 },
    })
    const large = Buffer.alloc(1024 * 1024, 0xfe)
    const records = [
      { ...record(0, 'nul \0 in "it"', Buffer.from([0, 255, 0])), headers: { nul: '\0', umlaut: 'ä', 日: '本' } },
      record(1, 'k'.repeat(5_000), 'long key'),
      record(2, null, 'no key'),
      record(3, '', 'empty key'),
      ...[4, 5, 6, 7, 8].map((n) => record(n, 'large', large)),
    ]
    await core.deliver(...records)
    poison = false
    await until(() => seen.length === records.length)
    const digests = (all: readonly ConsumedRecord[]) =>
      all.map((each) => ({ ...each, value: createHash('sha256').update(each.value).digest('hex') }))
    expect(digests(seen.toSorted((a, b) => Number(a.offset - b.offset)))).toEqual(digests(records))
    await until(() => core.consumer.stats().parkedRecords === 0)
  })

  test('does not make a batch of thousands as many transactions, and those behind it keep their order', async () => {
    const handled: number[] = []
    let calls = 0
    let poison = true
    const handle: Handle = async (items) => {
      calls++
      if (poison && texts(items).includes('1000')) throw new Error('poison')
      handled.push(...texts(items).map(Number))
    }
    const core = await startCore(await databases.open(), handle, { settings: { ...SETTINGS, parkedMax: 10_000 } })
    const records = Array.from({ length: 5_000 }, (_, n) => record(n, `key-${n % 2}`, String(n)))
    await core.deliver(...records)
    // Half of them have the key of the poison, and most of those stand behind it.
    expect(handled.length).toBe(2_500 + 500)
    expect(calls).toBeLessThan(80)
    poison = false
    await until(() => handled.length === 5_000)
    for (const remainder of [0, 1]) {
      const ofKey = handled.filter((n) => n % 2 === remainder)
      expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b))
    }
  })

  test('is due again when the clock was set back', async () => {
    const clock = new ManualClock()
    const handled: string[] = []
    let poison = true
    const handle: Handle = async (items) => {
      if (poison) throw new Error('poison')
      handled.push(...texts(items))
    }
    const core = await startCore(await databases.open(), handle, { clock })
    let delivered = false
    void core.deliver(record(0, 'a', '0')).then(() => {
      delivered = true
    })
    await moving(clock, 20, () => delivered)
    clock.stepWall(-86_400_000)
    poison = false
    expect(await moving(clock, 100, () => handled.length === 1)).toBeLessThan(60_000)
  })
})
