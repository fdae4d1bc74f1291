/** Parking where much fails at once, where a lane is done while more is added, and where a handler takes its time. */

import { expect, test } from 'vitest'
import { TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { ParkingStore } from '../../../cloud/bus/parking-store.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { memoryDatabase } from '../../support/parking.ts'
import { until } from '../../support/until.ts'
import { errorsOf, GROUP, type Handle, record, SETTINGS, settled, startCore, texts } from './support/fed-consumer.ts'

test('of a batch that fails as a whole most is set aside untried, and gets its tries later', async () => {
  let calls = 0
  const handle: Handle = async () => {
    calls++
    throw new Error('poison')
  }
  const settings = { ...SETTINGS, retries: 1, retryBaseMs: 10, retryCapMs: 10 }
  const core = await startCore(await memoryDatabase(), handle, { settings })
  await core.parking.stop()
  await core.deliver(...Array.from({ length: 1_000 }, (_, n) => record(n, `key-${n}`, String(n))))
  expect(calls).toBe(256)
  const other = await startCore(await memoryDatabase(), handle, { settings })
  await other.deliver(...Array.from({ length: 400 }, (_, n) => record(n, `key-${n}`, String(n))))
  await until(() => other.letters.length === 400)
  expect(errorsOf(other.letters).map(({ retryCount }) => retryCount)).toEqual(Array.from({ length: 400 }, () => 4))
})

test('one key that fills the table holds nobody else up: what still comes of it are dead letters', async () => {
  const handled: string[] = []
  const handle: Handle = async (items) => {
    if (texts(items).some((text) => text.startsWith('poison'))) throw new Error('poison')
    handled.push(...texts(items))
  }
  const core = await startCore(await memoryDatabase(), handle, { settings: { ...SETTINGS, parkedMax: 100 } })
  await core.parking.stop()
  const poison = (first: number, count: number) =>
    Array.from({ length: count }, (_, n) => record(first + n, 'hot', `poison ${first + n}`))
  await core.deliver(...poison(0, 150))
  await core.deliver(record(150, 'a', 'good'), ...poison(151, 60))
  expect(core.letters).toEqual([])
  await core.deliver(...poison(211, 2), record(213, 'b', 'good too'))
  expect(handled).toEqual(['good', 'good too'])
  expect(core.letters.map(({ headers }) => headers?.originalOffset)).toEqual(['211', '212'])
  expect(errorsOf(core.letters)).toMatchObject([
    { code: 'PARKING_FULL', retryCount: 0 },
    { code: 'PARKING_FULL', retryCount: 0 },
  ])
  // A bug that hits every key is another matter: the consumer waits for whoever mends it.
  await expect(core.deliver(record(214, 'c', 'poison 214'))).rejects.toMatchObject({ code: 'PARKING_FULL' })
  expect(core.letters).toHaveLength(2)
})

test('a lane that was done while more of it is added begins anew', async () => {
  const database = await memoryDatabase()
  let transactions = 0
  const drained = Object.create(database, {
    transaction: {
      value: async (work: Parameters<DatabaseHandle['transaction']>[0]) => {
        // Between the first and the second part of the records somebody handles all there is.
        if (++transactions === 2) {
          await database.kysely.deleteFrom('parked_records').execute()
          await database.kysely.deleteFrom('parked_lanes').execute()
        }
        return database.transaction(work)
      },
    },
  }) as DatabaseHandle
  const lanes = new Map([['"a"', { lane: '"a"', tries: 4, errorCode: 'REFUSED', error: 'no', dueAtMs: 9e15 }]])
  const records = Array.from({ length: 700 }, (_, n) => ({ lane: '"a"', record: record(n, 'a', String(n)) }))
  await new ParkingStore(drained).setAside(GROUP, TASK_REQUESTED, lanes, records, 5)
  expect(transactions).toBe(2)
  const lane = await database.kysely.selectFrom('parked_lanes').selectAll().executeTakeFirstOrThrow()
  expect(lane).toMatchObject({ tries: 0, error_code: null, due_at_ms: 5 })
  const left = await database.kysely.selectFrom('parked_records').select('record_offset').orderBy('id').execute()
  expect(left.map((row) => row.record_offset)).toEqual(Array.from({ length: 200 }, (_, n) => 500 + n))
})

test('a core that takes longer than a lease keeps the key all the same', async () => {
  const database = await memoryDatabase()
  const begun: string[] = []
  let poison = true
  const handle: Handle = async (items) => {
    if (poison) throw new Error('poison')
    begun.push(...texts(items))
    await settled(50)
  }
  const options = { settings: { ...SETTINGS, retries: 99, retryBaseMs: 10 }, leaseMs: 300, pollMs: 20 }
  const first = await startCore(database, handle, options)
  await first.deliver(record(0, 'a', '0'))
  poison = false
  await until(() => begun.length === 1)
  const second = await startCore(database, handle, options)
  await until(() => first.consumer.stats().handled === 1)
  await settled()
  expect(begun).toEqual(['0'])
  expect(second.consumer.stats().handled).toBe(0)
})
