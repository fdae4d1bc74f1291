/** Publishes numbered records to an embedded bus and prints each confirmed number, until it is killed. Argument: dir. */

import { catalogue, DEVICE_TELEMETRY } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

const dir = process.argv[2]
if (dir === undefined) throw new Error('usage: embedded-bus-writer <dir>')
const bus = new EmbeddedBus({ dir, topics: catalogue(), clock: systemClock, random: systemRandom, log: silentLogger })
await bus.start()
await bus.createTopics()

async function publish(key: string): Promise<never> {
  for (let next = 0; ; next += 10) {
    const records = Array.from({ length: 10 }, (_, i) => ({ key, value: String(next + i) }))
    await bus.publish(DEVICE_TELEMETRY, records)
    process.stdout.write(`${key} ${next + 9}\n`)
  }
}

await Promise.all(['INV-0', 'INV-1', 'INV-2', 'INV-3'].map(publish))
