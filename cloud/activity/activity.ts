/** The activity log: the public face of this folder. */

export { ACTIVITY_EXPORT_FORMATS, type ActivityExportFormat } from './activity-export.ts'
export { type ActivityKeys, activityKeysOf, openActivityKeys } from './activity-keys.ts'
export {
  type ActivityDay,
  ActivityQueries,
  type ActivityQueriesOptions,
  type ActivityQueryStats,
  type Sight,
} from './activity-queries.ts'
export * from './activity-record.ts'
export { ActivitySeal } from './activity-seal.ts'
export type { ActivityFilter } from './activity-search.ts'
export { ActivityStore, type ActivityStoreOptions } from './activity-store.ts'
export * from './activity-types.ts'
export { type ActivityView, activityView } from './activity-view.ts'
export * from './analytics-record.ts'
export * from './check-activity.ts'
export * from './event.ts'
export { ActivityIntake, type GivenActivity, type IntakeOptions, type IntakeStats, type Taking } from './intake.ts'
export {
  ActivityProcessor,
  type ActivityProcessorOptions,
  type ActivityProcessorStats,
  readActivity,
} from './processor.ts'
export { ActivityRecorder, type RecorderOptions, type RecorderSettings, type RecorderStats } from './recorder.ts'
export { ActivityUpkeep, type ActivityUpkeepOptions } from './upkeep.ts'
export * from './verification.ts'
export { ActivityWindows, type ActivityWindowsOptions } from './windows.ts'
