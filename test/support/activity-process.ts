/**
 * A core that records numbered activities, many at a time, until it is killed. Prints the number of each once it may be
 * answered. Arguments: database URL.
 */

import { ActivityRecorder } from '../../cloud/activity/activity.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { silentLogger as log } from '../../shared/log.ts'
import { systemRandom as random } from '../../shared/random.ts'
import { RECORDER_SETTINGS } from './recorded.ts'

const [url] = process.argv.slice(2)
if (url === undefined) throw new Error('usage: activity-process <database url>')
const database = openDatabase({ url, clock, log })
await database.start()
const outbox = new Outbox({ database, clock })
const settings = { ...RECORDER_SETTINGS, recordWaitMs: 60_000 }
const recorder = new ActivityRecorder({ database, outbox, settings, clock, random, log })
let next = 0
const record = async (): Promise<void> => {
  for (;;) {
    const objectId = String(next++)
    await recorder.record({ userId: 'ann', activityType: 'change_site', outcome: 'SUCCESS', objectId })
    process.stdout.write(`${objectId}\n`)
  }
}
await Promise.all(Array.from({ length: 8 }, record))
