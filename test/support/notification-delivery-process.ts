/** A core with nothing but the delivery of notifications, until it is killed. Arguments: directory, URL of the webhook, secret. */

import { join } from 'node:path'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Parking } from '../../cloud/bus/parking.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { NotificationDelivery } from '../../cloud/notifications/delivery.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

const [dir, url, secret] = process.argv.slice(2)
if (dir === undefined || url === undefined || secret === undefined) {
  throw new Error('usage: notification-delivery-process <dir> <url> <secret>')
}
const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const database = openDatabase({ url: `sqlite:${join(dir, 'busbar.db')}`, ...tools })
await database.start()
const bus = new EmbeddedBus({ dir, topics: catalogue(), ...tools })
await bus.start()
const settings = { retries: 2, deviceRetries: 2, retryBaseMs: 20, retryCapMs: 100, parkedMax: 10_000 }
const coreId = randomHex(systemRandom, 8)
const parking = new Parking({ database, bus, coreId, settings, pollMs: 50, leaseMs: 500, ...tools })
await parking.start()
const webhook = { url, secret, timeoutMs: 5_000, quiet: false, maxAgeHours: 24, breakerFailures: 3, breakerOpenMs: 100 }
await new NotificationDelivery({ webhook, bus, parking, ...tools }).start()
process.stdout.write('started\n')
