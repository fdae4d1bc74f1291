/** Activities of a thousand users, as programs publish them: made in turn, each with an id of its own. */

import type { UserActivity } from '../../cloud/activity/activity.ts'
import type { BusRecord } from '../../cloud/bus/bus.ts'
import { Partitioner } from '../../cloud/bus/partitioner.ts'

const USERS = 1_000
const PARTITIONS = 3
/** What they do, as often as it stands here; a tenth of it is looked at as relevant to security. */
const TYPES = ['page_view', 'page_view', 'export', 'page_view', 'settings_changed', 'page_view', 'page_view', 'command']
const AGENT = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36'

export class ActivityLoad {
  private readonly users: readonly string[]
  private readonly run: string
  private readonly beginMs: number
  private made = 0

  /**
   * @param run begins the ids, so that two loads have none in common.
   * @param beginMs time of the first; each turn of all users is a second later.
   * @param partition of all of them; null for any.
   */
  constructor(run: string, beginMs: number, partition: number | null = null) {
    const partitioner = new Partitioner()
    const users: string[] = []
    for (let i = 0; users.length < USERS; i++) {
      const user = `user-${i}`
      if (partition === null || partitioner.partitionOf(user, PARTITIONS) === partition) users.push(user)
    }
    this.users = users
    this.run = run
    this.beginMs = beginMs
  }

  next(count: number): UserActivity[] {
    return Array.from({ length: count }, () => this.one())
  }

  records(count: number): BusRecord[] {
    return this.next(count).map((activity) => ({
      key: activity.userId,
      value: JSON.stringify(activity),
      headers: { source: 'bench', timestamp: activity.timestamp },
    }))
  }

  private one(): UserActivity {
    const i = this.made++
    const turn = Math.floor(i / USERS)
    return {
      userId: this.users[i % USERS] as string,
      activityType: TYPES[(i + turn) % TYPES.length] as string,
      timestamp: new Date(this.beginMs + turn * 1_000).toISOString(),
      metadata: {
        ipAddress: `10.0.${i % 200}.${(i % USERS) % 250}`,
        userAgent: AGENT,
        sessionId: `sess_${i % USERS}`,
        path: `/sites/${i % 40}/devices`,
      },
      eventId: `evt_${this.run}${i.toString(16).padStart(16, '0')}`,
      version: '1.0',
      outcome: 'SUCCESS',
      objectType: 'device',
      objectId: `INV-${i % 5_000}`,
      siteId: (i % 40) + 1,
    }
  }
}
