import { expect, test } from 'vitest'
import { COMMAND_EVENTS, TASK_REQUESTED } from '../../../cloud/bus/catalogue.ts'
import { Outbox, type OutboxRecord } from '../../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const clock = new ManualClock()

function append(database: DatabaseHandle, records: readonly OutboxRecord[]): Promise<void> {
  const outbox = new Outbox({ database, clock })
  return database.transaction((transaction) => outbox.append(records, transaction))
}

await describeOnEveryDatabase('the outbox', (databases) => {
  test('stores records as they are, in their order', async () => {
    const database = await databases.open()
    const later = clock.wallMs() + 60_000
    await append(database, [
      { topic: COMMAND_EVENTS, key: 'cmd-1', value: '{"id":"cmd-1","größe":"€ \\" \\u0001"}' },
      {
        topic: TASK_REQUESTED,
        key: null,
        value: 'null',
        headers: { source: 'tësts', empty: '' },
        owner: { name: 'task', id: 't1' },
        availableAtMs: later,
      },
    ])
    const rows = await database.kysely.selectFrom('outbox').selectAll().orderBy('id').execute()
    const fresh = { lease_by: null, lease_until_ms: null, sent_at_ms: null, failures: 0, error: null }
    expect(rows).toEqual([
      {
        ...fresh,
        id: rows[0]?.id,
        topic: COMMAND_EVENTS,
        key: 'cmd-1',
        value: '{"id":"cmd-1","größe":"€ \\" \\u0001"}',
        headers: null,
        owner: null,
        owner_id: null,
        created_at_ms: clock.wallMs(),
        available_at_ms: clock.wallMs(),
      },
      {
        ...fresh,
        id: rows[1]?.id,
        topic: TASK_REQUESTED,
        key: null,
        value: 'null',
        headers: '{"source":"tësts","empty":""}',
        owner: 'task',
        owner_id: 't1',
        created_at_ms: clock.wallMs(),
        available_at_ms: later,
      },
    ])
  })

  test('keeps the order of many records', async () => {
    const database = await databases.open()
    await append(
      database,
      Array.from({ length: 1_234 }, (_, i) => ({ topic: COMMAND_EVENTS, key: null, value: String(i) })),
    )
    const rows = await database.kysely.selectFrom('outbox').select('value').orderBy('id').execute()
    expect(rows.map(({ value }) => Number(value))).toEqual(Array.from({ length: 1_234 }, (_, i) => i))
  })

  test('stores nothing when the transaction fails', async () => {
    const database = await databases.open()
    const outbox = new Outbox({ database, clock })
    const failing = database.transaction(async (transaction) => {
      await outbox.append([{ topic: COMMAND_EVENTS, key: null, value: '{}' }], transaction)
      throw new Error('the command could not be stored')
    })
    await expect(failing).rejects.toThrow('could not be stored')
    expect(await database.kysely.selectFrom('outbox').select('id').execute()).toEqual([])
  })

  test('gives back what nobody has begun to publish, and nothing else', async () => {
    const database = await databases.open()
    const outbox = new Outbox({ database, clock })
    const record = (id: string) => ({ topic: TASK_REQUESTED, key: id, value: '{}', owner: { name: 'task', id } })
    await append(database, ['t1', 't1', 't2', 't3', 't4'].map(record))
    const update = (id: string, values: object) =>
      database.kysely.updateTable('outbox').set(values).where('owner_id', '=', id).execute()
    await update('t2', { lease_by: 'core-a', lease_until_ms: clock.wallMs() + 15_000 })
    await update('t3', { lease_by: 'core-a', lease_until_ms: null })
    await update('t4', { sent_at_ms: clock.wallMs() })
    const withdrawn = await database.transaction(async (transaction) => {
      const counts: number[] = []
      for (const id of ['t1', 't2', 't3', 't4', 't5']) {
        counts.push(await outbox.withdraw({ name: 'task', id }, transaction))
      }
      return counts
    })
    expect(withdrawn).toEqual([2, 0, 0, 0, 0])
    const rows = await database.kysely.selectFrom('outbox').select('owner_id').orderBy('id').execute()
    expect(rows.map((row) => row.owner_id)).toEqual(['t2', 't3', 't4'])
  })

  test('takes one listener an owner', async () => {
    const outbox = new Outbox({ database: await databases.open(), clock })
    outbox.onPublished('task', async () => {})
    expect(() => outbox.onPublished('task', async () => {})).toThrow('only one listener')
  })
})
