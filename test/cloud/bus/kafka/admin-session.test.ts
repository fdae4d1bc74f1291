import type { Admin, Kafka } from 'kafkajs'
import { expect, test } from 'vitest'
import { groupPositions } from '../../../../cloud/bus/kafka/topic-admin.ts'

test('what is asked at the same time shares its connections, and nobody joins those over which something failed', async () => {
  let [opened, closed] = [0, 0]
  const released = Promise.withResolvers<void>()
  const admin = {
    connect: async () => void opened++,
    disconnect: async () => void closed++,
    fetchOffsets: async ({ groupId }: { groupId: string }) => {
      if (groupId === 'denied') throw new Error('no')
      if (groupId === 'slow') await released.promise
      return []
    },
    fetchTopicOffsets: async () => [{ partition: 0, low: '0', high: '3' }],
  } as unknown as Admin
  const kafka = { admin: () => admin } as Pick<Kafka, 'admin'> as Kafka
  const ask = (group: string) => groupPositions(kafka, group, ['logs'])
  const [positions] = await Promise.all(['a', 'b', 'c'].map(ask))
  expect(positions).toEqual([{ topic: 'logs', partition: 0, nextOffset: 0n, endOffset: 3n }])
  expect([opened, closed]).toEqual([1, 1])
  const slow = ask('slow')
  await expect(ask('denied')).rejects.toMatchObject({ code: 'KAFKA_ADMIN_FAILED', retryable: true })
  await ask('b')
  expect([opened, closed]).toEqual([3, 2])
  released.resolve()
  await slow
  expect(closed).toBe(3)
})
