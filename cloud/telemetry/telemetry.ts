/** What other services and the API may use of telemetry. */

export { type Loss, VERDICTS } from './completeness.ts'
export { DOWNSAMPLING_METHODS, type Point } from './downsample.ts'
export { EXPORT_FORMATS } from './export-format.ts'
export type { StepPoint } from './series.ts'
export { RESOLUTION_NAMES } from './series-plan.ts'
export { POINTS_DEFAULT, POINTS_MIN, type Series, type SeriesAnswer } from './series-reader.ts'
export {
  BUCKETS_DEFAULT,
  BUCKETS_MAX,
  type Completeness,
  type ExportQuestion,
  TelemetryQueries,
} from './telemetry-queries.ts'
export { NotFoundError, QueryRefusedError } from './telemetry-queries-errors.ts'
