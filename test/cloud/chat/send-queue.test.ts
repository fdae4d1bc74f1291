import { describe, expect, it } from 'vitest'
import { type Outcome, SendQueue } from '../../../cloud/chat/send-queue.ts'
import { systemClock } from '../../../shared/clock.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** Writes when it is told to. */
function heldQueue(batchMax: number, waitingMax: number) {
  const batches: { items: readonly number[]; end: (error?: Error) => void }[] = []
  const queue = new SendQueue<number, string>({
    batchMax,
    waitingMax,
    paceMs: 0,
    clock: systemClock,
    write: (items) =>
      new Promise((resolve, reject) => {
        const outcomes = items.map((item): Outcome<string> => (item < 0 ? { error: item } : { result: `r${item}` }))
        batches.push({ items, end: (error) => (error === undefined ? resolve(outcomes) : reject(error)) })
      }),
  })
  return { queue, batches }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the queue of messages', () => {
  it('writes what came meanwhile together, in order, and no more at once than it may', async () => {
    const { queue, batches } = heldQueue(3, 10)
    const first = queue.add(1)
    await turn()
    const others = [2, 3, 4, 5].map((item) => queue.add(item))
    await turn()
    expect(batches.map(({ items }) => items)).toEqual([[1]])
    for (let i = 0; i < 3; i++) {
      batches[i]?.end()
      await turn()
    }
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3, 4], [5]])
    expect(await Promise.all([first, ...others])).toEqual(['r1', 'r2', 'r3', 'r4', 'r5'])
    await queue.idle()
    expect(queue.stats()).toEqual({ waiting: 0, batches: 3, refused: 0 })
  })

  it('tells each its own outcome, and all of them a failure that was of all', async () => {
    const { queue, batches } = heldQueue(10, 10)
    const some = Promise.allSettled([1, -2, 3].map((item) => queue.add(item)))
    await turn()
    batches[0]?.end()
    expect((await some).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    const all = Promise.allSettled([4, 5].map((item) => queue.add(item)))
    await turn()
    batches[1]?.end(new Error('away'))
    expect((await all).map((each) => each.status === 'rejected' && (each.reason as Error).message)).toEqual([
      'away',
      'away',
    ])
    const next = queue.add(6)
    await turn()
    batches[2]?.end()
    expect(await next).toBe('r6')
  })

  it('tells who comes when too many wait to try again', async () => {
    const { queue, batches } = heldQueue(10, 2)
    const first = queue.add(1)
    await turn()
    const waiting = [queue.add(2), queue.add(3)]
    await expect(queue.add(4)).rejects.toMatchObject({ code: 'CHAT_BUSY', retryable: true })
    batches[0]?.end()
    await turn()
    batches[1]?.end()
    expect(await Promise.all([first, ...waiting])).toHaveLength(3)
    expect(queue.stats().refused).toBe(1)
  })

  it('lets what follows close upon a transaction wait for company, but for no longer than its pace', async () => {
    const batches: number[][] = []
    const clock = new ManualClock()
    const queue = new SendQueue<number, number>({
      batchMax: 3,
      waitingMax: 10,
      paceMs: 5,
      clock,
      write: async (items) => {
        batches.push([...items])
        return items.map((result) => ({ result }))
      },
    })
    await queue.add(1)
    const others = [queue.add(2), queue.add(3)]
    await turn()
    expect(batches).toEqual([[1]])
    clock.advance(5)
    await Promise.all(others)
    // So many fill a transaction, which waits for nobody.
    await Promise.all([4, 5, 6].map((item) => queue.add(item)))
    expect(batches).toEqual([[1], [2, 3], [4, 5, 6]])
  })
})
