/** Prometheus metrics of the activity log. */

import type { Metrics } from '../shared/metrics.ts'
import type { ActivityRecorder } from './activity/recorder.ts'

export interface ActivityParts {
  readonly recorder: Pick<ActivityRecorder, 'stats'>
}

export function activityMetrics({ gauge, counter }: Metrics, { recorder }: ActivityParts): void {
  counter('activity_recorded_entries', 'Entries of what this core did that are stored to be published', () => {
    return recorder.stats().recorded
  })
  gauge('activity_waiting_entries', 'Entries that wait in memory for the database', () => recorder.stats().pending)
  counter('activity_lost_entries', 'Entries that are in the log of the program alone', () => recorder.stats().lost)
  counter('activity_late_entries', 'Entries that an answer did not wait for any longer', () => recorder.stats().late)
  counter('activity_suppressed_refusals', 'Refused requests that another entry stands for', () => {
    return recorder.stats().suppressed
  })
}
