/** Upkeep of the activity log, on one core at a time: days that are too old go, and heads of finished days into the log. */

import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { ActivityKeys } from './activity-keys.ts'
import type { Activities } from './event.ts'

export interface ActivityUpkeepOptions {
  readonly database: DatabaseHandle
  readonly keys: ActivityKeys
  readonly settings: { readonly retentionDays: number }
  /** That a day was purged is an entry of its own. */
  readonly activities: Activities
  readonly coreId: string
  readonly clock: Clock
  readonly log: Logger
}

export class ActivityUpkeep implements Part {
  readonly name = 'activity upkeep'

  constructor(options: ActivityUpkeepOptions) {
    void options
  }

  /** Entries removed since the start. */
  get purged(): number {
    return 0
  }

  async start(): Promise<void> {}

  async stop(_deadline: AbortSignal): Promise<void> {}
}
