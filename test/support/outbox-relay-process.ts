/** A core with nothing but a relay, until it is killed. Prints a line for each publish. Arguments: database URL, bus dir. */

import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import { OutboxRelay } from '../../cloud/bus/outbox-relay.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

const [url, dir] = process.argv.slice(2)
if (url === undefined || dir === undefined) throw new Error('usage: outbox-relay-process <database url> <bus dir>')
const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const database = openDatabase({ url, ...tools })
await database.start()
const bus = new EmbeddedBus({ dir, topics: catalogue(), ...tools })
await bus.start()
await bus.createTopics()
const outbox = new Outbox({ database, clock: systemClock })
const relay = new OutboxRelay({
  outbox,
  bus: {
    publish: async (topic, records) => {
      process.stdout.write(`begun ${records.length}\n`)
      await bus.publish(topic, records)
      process.stdout.write(`published ${records.length}\n`)
    },
  },
  database,
  coreId: randomHex(systemRandom, 8),
  keptMs: 3_600_000,
  leaseMs: 500,
  rowsMax: 20,
  ...tools,
})
await relay.start()
