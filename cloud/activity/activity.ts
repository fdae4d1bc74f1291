/** The activity log: the public face of this folder. */

export { type ActivityKeys, activityKeysFault, activityKeysOf, openActivityKeys } from './activity-keys.ts'
export { type ActivityDay, type ActivityExportFormat, ActivityQueries, type Sight } from './activity-queries.ts'
export * from './activity-record.ts'
export { ActivitySeal } from './activity-seal.ts'
export type { ActivityFilter } from './activity-search.ts'
export { ActivityStore, type ActivityStoreOptions } from './activity-store.ts'
export * from './activity-types.ts'
export * from './event.ts'
export { ActivityIntake, type IntakeStats } from './intake.ts'
export { ActivityRecorder, type RecorderOptions, type RecorderSettings, type RecorderStats } from './recorder.ts'
export { ActivityUpkeep, type ActivityUpkeepOptions } from './upkeep.ts'
export * from './verification.ts'
