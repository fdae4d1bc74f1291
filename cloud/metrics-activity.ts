/** Prometheus metrics of the activity log. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type {
  ActivityIntake,
  ActivityProcessor,
  ActivityQueries,
  ActivityRecorder,
  ActivityUpkeep,
  ActivityWindows,
} from './activity/activity.ts'

export interface ActivityParts {
  readonly recorder: Pick<ActivityRecorder, 'stats'>
  readonly intake: Pick<ActivityIntake, 'stats'>
  readonly processor: Pick<ActivityProcessor, 'stats'>
  readonly windows: Pick<ActivityWindows, 'stats'>
  readonly queries: Pick<ActivityQueries, 'stats'>
  readonly upkeep: Pick<ActivityUpkeep, 'purged'>
}

export function activityMetrics({ gauge, counter, histogram }: Metrics, parts: ActivityParts): void {
  const { recorder, intake, processor, windows, queries, upkeep } = parts

  counter('activity_recorded_entries', 'Entries of what this core did that are stored to be published', () => {
    return recorder.stats().recorded
  })
  gauge('activity_waiting_entries', 'Entries that wait in memory for the database', () => recorder.stats().pending)
  counter('activity_lost_entries', 'Entries that are in the log of the program alone', () => recorder.stats().lost)
  counter('activity_late_entries', 'Entries that an answer did not wait for any longer', () => recorder.stats().late)
  counter('activity_suppressed_refusals', 'Refused requests that another entry stands for', () => {
    return recorder.stats().suppressed
  })

  counter('activity_taken_entries', 'Activities of other programs that the bus has', () => intake.stats().taken)
  counter('activity_taken_requests', 'Requests that brought them', () => intake.stats().batches)
  counter('activity_refused_requests', 'Such requests that were refused for what they said', () => {
    return intake.stats().refused
  })
  counter('activity_failed_requests', 'Such requests that the bus did not take', () => intake.stats().failed)
  gauge('activity_waiting_requests', 'Such requests that wait for the bus', () => intake.stats().waiting)

  counter('activity_handled_records', 'Records whose activity is stored', () => processor.stats().handled)
  counter('activity_stored_entries', 'Entries that were new to the log', () => processor.stats().stored)
  counter('activity_repeated_entries', 'Entries that were there', () => processor.stats().repeated)
  counter(
    'activity_dead_letters',
    'Records that were given up',
    () => labelled('code', processor.stats().deadLettered),
    ['code'],
  )
  histogram('activity_processing_seconds', 'From a batch in hand until all that follows from it is durable', () => {
    return processor.stats().seconds
  })
  counter('activity_analytics_records', 'Records of what matters for security that this core published', () => {
    return processor.stats().analytics
  })
  counter('activity_refused_analytics_records', 'Those that the bus refused for themselves', () => {
    return processor.stats().analyticsRefused
  })
  counter('activity_published_windows', 'Windows given to be published, each as often as it changed', () => {
    return windows.stats().published
  })
  counter(
    'activity_suspicions',
    'Suspicious patterns that people were told of',
    () => labelled('pattern', processor.stats().suspicions),
    ['pattern'],
  )

  gauge('activity_exports_running', 'Exports of the log that are being read', () => queries.stats().exporting)
  counter('activity_exports', 'Exports of the log that began', () => queries.stats().exports)
  counter('activity_exports_failed', 'Exports of the log that broke off', () => queries.stats().exportsFailed)
  counter('activity_exports_refused', 'Exports of the log that were told to come again', () => {
    return queries.stats().exportsRefused
  })
  counter('activity_purged_entries', 'Entries removed because of their age', () => upkeep.purged)
}
