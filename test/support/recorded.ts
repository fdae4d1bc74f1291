/** What was recorded: by the recorder itself, or kept for a test that looks at each entry. */

import {
  type Activities,
  ActivityRecorder,
  type NewActivity,
  type RecorderOptions,
  type RecorderSettings,
  type UserActivity,
} from '../../cloud/activity/activity.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { type Logger, silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

export const RECORDER_SETTINGS: RecorderSettings = {
  recordWaitMs: 5_000,
  pendingMax: 1_000,
  refusalsPerMinute: 600,
  metadataBytesMax: 16 * 1024,
  sensitiveFields: ['ipAddress', 'userAgent'],
}

export interface RecorderUnderTest {
  readonly recorder: ActivityRecorder
  /** Those in the outbox, in their order. */
  stored(): Promise<UserActivity[]>
  /** What is in the log of the program alone. */
  readonly logged: { readonly activity: UserActivity; readonly error: string }[]
}

/** @param given what takes the place of the database where the test wants another. */
export function recorderOver(
  database: DatabaseHandle,
  options: Partial<Pick<RecorderOptions, 'database' | 'outbox' | 'clock'>> & {
    readonly settings?: Partial<RecorderSettings>
  } = {},
): RecorderUnderTest {
  const logged: RecorderUnderTest['logged'][number][] = []
  const log: Pick<Logger, 'error'> = {
    error: (fields: object) => void logged.push(fields as RecorderUnderTest['logged'][number]),
  }
  const recorder = new ActivityRecorder({
    database,
    outbox: new Outbox({ database, clock: systemClock }),
    clock: systemClock,
    random: systemRandom,
    ...options,
    settings: { ...RECORDER_SETTINGS, ...options.settings },
    log: Object.assign(Object.create(silentLogger), log) as Logger,
  })
  return { recorder, logged, stored: () => outboxActivities(database) }
}

/** Those that the outbox has, in their order. */
export async function outboxActivities({ kysely }: DatabaseHandle): Promise<UserActivity[]> {
  const rows = kysely.selectFrom('outbox').select('value').where('topic', '=', 'user-activity-logs').orderBy('id')
  return (await rows.execute()).map(({ value }) => JSON.parse(value) as UserActivity)
}

/** Keeps what is recorded. */
export class KeptActivities implements Activities {
  entries: NewActivity[] = []

  async record(activity: NewActivity): Promise<void> {
    this.entries.push(activity)
  }

  /** What has come since the last time. */
  take(): NewActivity[] {
    return this.entries.splice(0)
  }
}
