import { describe, expect, test } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { publishRows } from '../../../cloud/bus/outbox-publish.ts'
import type { OutboxRow } from '../../../cloud/bus/outbox-rows.ts'
import { PublishError } from '../../../cloud/bus/publish-error.ts'
import { BusbarError } from '../../../shared/errors.ts'

const rows = Array.from({ length: 40 }, (_, id): OutboxRow => {
  return { id, topic: 't', key: 'k', value: String(id), headers: null, failures: 0 }
})
const ids = (of: readonly OutboxRow[]) => of.map(({ id }) => id)
const range = (count: number, except: readonly number[] = []) =>
  Array.from({ length: count }, (_, i) => i).filter((i) => !except.includes(i))

/** Publishes over a bus that answers as told, and gives what it was asked and what came of it. */
async function publishOver(answer: (values: number[], call: number) => void) {
  const calls: number[][] = []
  const bus = {
    publish: async (_: string, records: readonly BusRecord[]) => {
      const values = records.map(({ value }) => Number(value))
      calls.push(values)
      answer(values, calls.length)
    },
  }
  return { calls, ...(await publishRows(bus, 't', rows)) }
}

const refusal = () => new BusbarError('no', { code: 'RECORD_REFUSED' })
const outage = () => new BusbarError('away', { code: 'PUBLISH_TIMEOUT', retryable: true })

describe('publishing rows of the outbox', () => {
  test('takes one publish when nothing is wrong', async () => {
    const { calls, stored, refused, unsent, failure } = await publishOver(() => {})
    expect(calls).toEqual([range(40)])
    expect([ids(stored), refused, unsent, failure]).toEqual([range(40), [], [], null])
  })

  test('finds those that are refused in a few publishes, and keeps the order of the others', async () => {
    const bad = [7, 30, 31]
    const published: number[] = []
    const { calls, stored, refused, unsent } = await publishOver((values) => {
      if (values.some((value) => bad.includes(value))) throw refusal()
      published.push(...values)
    })
    expect(published).toEqual(range(40, bad))
    expect(ids(stored)).toEqual(range(40, bad))
    expect(refused.map(({ row }) => row.id)).toEqual(bad)
    expect(unsent).toEqual([])
    expect(calls.length).toBeLessThan(30)
  })

  test('believes the bus about what is stored already', async () => {
    const { calls, stored, refused } = await publishOver((values) => {
      throw new PublishError(refusal(), range(values.length, [12]))
    })
    expect(calls.length).toBe(1)
    expect(ids(stored)).toEqual(range(40, [12]))
    expect(refused.map(({ row }) => row.id)).toEqual([12])
  })

  test('leaves the rest for later when the bus goes away, less what it has stored', async () => {
    const { stored, refused, unsent, failure } = await publishOver((values, call) => {
      if (call === 1) throw refusal()
      if (values.includes(25)) throw new PublishError(outage(), [0, 1])
    })
    expect(ids(stored)).toEqual(range(22))
    expect(refused).toEqual([])
    expect(ids(unsent)).toEqual(range(40).slice(22))
    expect(failure).toMatchObject({ code: 'PUBLISH_TIMEOUT' })
  })
})
