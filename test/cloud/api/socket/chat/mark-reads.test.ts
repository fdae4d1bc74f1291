/** What sockets that subscribe ask of the database. */

import { expect, test } from 'vitest'
import { READS_MAX } from '../../../../../cloud/api/socket/chat/chat-limits.ts'
import { MarkReads } from '../../../../../cloud/api/socket/chat/mark-reads.ts'
import { until } from '../../../../support/until.ts'

function reading() {
  const asked: { userId: string; answer: PromiseWithResolvers<ReadonlyMap<string, number>> }[] = []
  const reads = new MarkReads({
    marksOf: (userId) => {
      const answer = Promise.withResolvers<ReadonlyMap<string, number>>()
      asked.push({ userId, answer })
      return answer.promise
    },
  })
  return { reads, asked, users: () => asked.map(({ userId }) => userId) }
}

test('who subscribes again and again is read of one after the other, and those who wait share what is read after them', async () => {
  const { reads, asked, users } = reading()
  const first = reads.of('ann')
  const later = Array.from({ length: 1_000 }, () => reads.of('ann'))
  const other = reads.of('bob')
  expect(users()).toEqual(['ann', 'bob'])
  asked[0]?.answer.resolve(new Map([['a', 1]]))
  expect((await first).get('a')).toBe(1)
  await until(() => asked.length === 3)
  expect(users()).toEqual(['ann', 'bob', 'ann'])
  asked[2]?.answer.resolve(new Map([['a', 2]]))
  for (const marks of await Promise.all(later)) expect(marks.get('a')).toBe(2)
  asked[1]?.answer.reject(new Error('the database is away'))
  await expect(other).rejects.toThrow('away')
  expect(asked).toHaveLength(3)
})

test('a bounded number is read at once, and who waits longest is next', async () => {
  const { reads, asked, users } = reading()
  const all = Array.from({ length: READS_MAX + 2 }, (_, i) => reads.of(`user-${i}`))
  expect(asked).toHaveLength(READS_MAX)
  for (let i = 0; i < all.length; i++) {
    asked[i]?.answer.resolve(new Map())
    await all[i]
  }
  expect(users().slice(READS_MAX)).toEqual([`user-${READS_MAX}`, `user-${READS_MAX + 1}`])
})
