/**
 * A core that tells notices numbered from 0, ten in a transaction, half of them as a burst, until it is killed. Prints a line
 * for each transaction. Arguments: database URL.
 */

import { Outbox } from '../../cloud/bus/outbox.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { Notifications } from '../../cloud/notifications/notifications.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { silentLogger as log } from '../../shared/log.ts'
import { numberedNotice } from './numbered-notice.ts'

const [url] = process.argv.slice(2)
if (url === undefined) throw new Error('usage: notification-process <database url>')
const database = openDatabase({ url, clock, log })
await database.start()
const outbox = new Outbox({ database, clock })
const settings = { keptDays: 90, burstNotices: 3, alertBurstNotices: 20, burstWindowMs: 1_500 }
const notifications = new Notifications({ database, outbox, settings, coreId: 'killed', clock, log })
for (let from = 0; ; from += 10) {
  const notices = Array.from({ length: 10 }, (_, i) => numberedNotice(from + i))
  await database.transaction((transaction) => notifications.notify(notices, transaction))
  process.stdout.write(`stored ${from + 10}\n`)
}
