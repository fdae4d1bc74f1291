/** The activity log: the public face of this folder. */

export { type ActivityDay, type ActivityExportFormat, ActivityQueries, type Sight } from './activity-queries.ts'
export * from './activity-record.ts'
export type { ActivityFilter } from './activity-search.ts'
export * from './activity-types.ts'
export * from './event.ts'
export { ActivityIntake, type IntakeStats } from './intake.ts'
export { ActivityRecorder, type RecorderOptions, type RecorderSettings, type RecorderStats } from './recorder.ts'
