import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { AppendQueue } from '../../../../cloud/bus/embedded/append-queue.ts'
import { LogClient } from '../../../../cloud/bus/embedded/log-client.ts'
import type { GroupOffset } from '../../../../cloud/bus/embedded/log-protocol.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { tempDir } from '../../../support/temp-dir.ts'
import { until } from '../../../support/until.ts'

test('offsets that were finished while a commit was slow are written without another record', async () => {
  const log = new LogClient()
  log.start()
  onTestFinished(() => log.terminate())
  await log.call({ kind: 'open', path: join(await tempDir(), 'bus.sqlite'), bytesMax: 1e9 })
  await log.call({ kind: 'createTopics', topics: [{ topic: 'readings', partitions: 1, retentionMs: 86_400_000 }] })
  const clock = new ManualClock()
  const slow = Promise.withResolvers<void>()
  const written: GroupOffset[][] = []
  const queue = new AppendQueue({
    log: {
      call: async (request, transfer) => {
        if (request.kind === 'commit' && request.batches.length > 0) await slow.promise
        const reply = await log.call(request, transfer)
        if (request.kind === 'commit') written.push([...request.offsets])
        return reply
      },
    },
    clock,
    queueBytesMax: 1e6,
    onCommitted: () => {},
    onFailed: () => {},
  })
  const appending = queue.append('readings', [{ key: null, value: '1' }], () => 0)
  await new Promise((resolve) => setImmediate(resolve))
  const offset = { group: 'idle', topic: 'readings', partition: 0, nextOffset: 1 }
  queue.finishOffset(offset)
  // Their time comes while the commit is in flight.
  clock.advance(1_000)
  slow.resolve()
  await appending
  await until(() => {
    clock.advance(100)
    return written.length === 2
  })
  expect(written).toEqual([[], [offset]])
})
