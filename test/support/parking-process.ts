/**
 * A core with nothing but a consumer that sets records of key `bad` aside, until it is killed. It appends what it handles to a
 * file, a line each, and says when rows are durable. Arguments: database URL, bus dir, file, `die` to never commit a batch.
 */

import { appendFileSync } from 'node:fs'
import { catalogue, TASK_REQUESTED } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Parking } from '../../cloud/bus/parking.ts'
import { RecordConsumer } from '../../cloud/bus/record-consumer.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

const [url, dir, file, how] = process.argv.slice(2)
if (url === undefined || dir === undefined || file === undefined) {
  throw new Error('usage: parking-process <database url> <bus dir> <file> [die]')
}
const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const database = openDatabase({ url, ...tools })
await database.start()
const bus = new EmbeddedBus({ dir, topics: catalogue(), ...tools })
await bus.start()
await bus.createTopics()
const settings = { retries: 8, deviceRetries: 3, retryBaseMs: 20, retryCapMs: 100, parkedMax: 10_000 }
const parking = new Parking({
  database,
  bus,
  coreId: randomHex(systemRandom, 8),
  settings,
  leaseMs: 600,
  pollMs: 50,
  ...tools,
})
const consumer = new RecordConsumer<{ text: string }>({
  name: 'tasks',
  bus: {
    publish: (topic, records) => bus.publish(topic, records),
    subscribe: (options) =>
      bus.subscribe({
        ...options,
        onBatch: async (batch) => {
          await options.onBatch(batch)
          process.stdout.write('set aside\n')
          // The rows are durable and the offsets are not: here it is killed.
          if (how === 'die') await new Promise<void>(() => {})
        },
      }),
  },
  group: 'tasks',
  topics: [TASK_REQUESTED],
  decode: ({ value }) => ({ text: value.toString() }),
  handle: async (items) => {
    if (how === 'die' && items.some(({ value }) => value.text === 'bad 1')) throw new Error('not yet')
    for (const { value } of items) appendFileSync(file, `${value.text}\n`)
  },
  parking,
  ...tools,
})
// The one that dies does not retry, so that all is still there.
if (how !== 'die') await parking.start()
await consumer.start()
process.stdout.write('started\n')
