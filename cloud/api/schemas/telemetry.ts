/** Telemetry as the API is asked for it and shows it. */

import { Type } from '@sinclair/typebox'
import {
  DOWNSAMPLING_METHODS,
  EXPORT_FORMATS,
  POINTS_DEFAULT,
  POINTS_MIN,
  type Point,
  RESOLUTION_NAMES,
  type Series,
  type SeriesAnswer,
  type StepPoint,
} from '../../telemetry/telemetry.ts'
import {
  closed,
  DeviceIdSchema,
  InstantSchema,
  nullable,
  SerialNumberSchema,
  SiteIdSchema,
  TimeSchema,
  time,
} from './common.ts'

const Count = Type.Integer({ minimum: 0 })

/** One of `names`. */
export function choiceOf<const Names extends readonly string[]>(names: Names, description: string) {
  return Type.Union(
    names.map((name) => Type.Literal(name as Names[number])),
    { description },
  )
}

/** The stretch of time that a question is about. */
export const STRETCH_QUERY = {
  from: { ...InstantSchema, description: `Begin of the stretch. ${InstantSchema.description}` },
  to: Type.Optional({
    ...InstantSchema,
    description: `End of the stretch, exclusive; now where it is absent. ${InstantSchema.description}`,
  }),
}

export const DEVICES_QUERY = {
  deviceId: Type.Optional(
    Type.String({
      pattern: '^[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*$',
      maxLength: 10_000,
      description: 'Ids of devices, separated by commas, such as 1,2. This or siteId',
      examples: ['1,2'],
    }),
  ),
  siteId: Type.Optional({ ...SiteIdSchema, description: 'All devices of this site. This or deviceId' }),
}

export const FieldsQuery = Type.String({
  minLength: 1,
  maxLength: 10_000,
  pattern: '^(?:[^\\\\,]|\\\\.)+(?:,(?:[^\\\\,]|\\\\.)+)*$',
  description:
    'Names of readings, separated by commas, such as powerKw,voltage. A comma or backslash that is part of a name has a backslash before it',
  examples: ['powerKw,voltage'],
})

const ResolutionSchema = choiceOf(
  RESOLUTION_NAMES,
  'raw: readings as they came. 1m, 15m, 1h, 1d: what the readings of a minute, 15 minutes, an hour, a day (UTC) come to',
)

export const SERIES_QUERY = {
  ...DEVICES_QUERY,
  field: FieldsQuery,
  ...STRETCH_QUERY,
  maxPoints: Type.Optional(
    Type.Integer({
      minimum: POINTS_MIN,
      default: POINTS_DEFAULT,
      description: 'Points that a series may have; at most telemetry.seriesPointsMax of the configuration',
    }),
  ),
  resolution: Type.Optional(
    choiceOf(
      ['auto', ...RESOLUTION_NAMES],
      'auto (the default) takes raw readings where they are few, and otherwise the roll-ups that fill maxPoints',
    ),
  ),
  method: Type.Optional(
    choiceOf(
      DOWNSAMPLING_METHODS,
      'What is done with more raw readings than maxPoints. minmax (the default) shows the least and the greatest of each ' +
        'stretch of time, so every peak; lttb shows those that keep the shape and may leave an extreme out. Roll-ups are ' +
        'merged, which keeps every minimum and maximum',
    ),
  ),
}

const PointSchema = Type.Object(
  { at: TimeSchema, value: Type.Number() },
  { ...closed, $id: 'ReadingPoint', description: 'One reading, at the time it was taken' },
)

const StepPointSchema = Type.Object(
  {
    at: { ...TimeSchema, description: 'Begin of the step' },
    min: Type.Number(),
    max: Type.Number(),
    mean: Type.Number(),
    last: Type.Number({ description: 'The latest of its readings' }),
    count: Type.Integer({ minimum: 1, description: 'Readings in the step' }),
  },
  {
    ...closed,
    $id: 'StepPoint',
    description: 'What the readings of a step of time come to; a step without any has no point',
  },
)

export const SeriesSchema = Type.Object(
  {
    from: TimeSchema,
    to: TimeSchema,
    resolution: ResolutionSchema,
    stepMs: nullable(
      Type.Integer({ description: 'Length of the step that a point stands for, milliseconds; null of raw readings' }),
    ),
    exact: Type.Boolean({ description: 'Every reading of the stretch is a point; `notes` say why it is not so' }),
    keptSince: {
      ...TimeSchema,
      description: 'Since when data of this resolution are kept; what is older may be missing',
    },
    notes: Type.Array(Type.String(), { description: 'What to know of these points, for people' }),
    series: Type.Array(
      Type.Object(
        {
          deviceId: DeviceIdSchema,
          siteId: SiteIdSchema,
          serialNumber: SerialNumberSchema,
          field: Type.String(),
          readings: { ...Count, description: 'Numeric readings that the points were made of' },
          points: Type.Array(Type.Union([PointSchema, StepPointSchema]), {
            description:
              'Ascending by time; of raw readings {at, value}, of roll-ups {at, min, max, mean, last, count}',
          }),
        },
        closed,
      ),
    ),
  },
  {
    ...closed,
    $id: 'TelemetrySeries',
    examples: [
      {
        from: '2026-01-01T00:00:00.000Z',
        to: '2026-01-08T00:00:00.000Z',
        resolution: '15m',
        stepMs: 1_800_000,
        exact: false,
        keptSince: '2024-01-09T00:00:00.000Z',
        notes: ['A point is what the readings of 1800 s, merged from roll-ups of 15m, come to; …'],
        series: [
          {
            deviceId: 1,
            siteId: 1,
            serialNumber: 'INV-001',
            field: 'powerKw',
            readings: 30,
            points: [{ at: '2026-01-01T00:00:00.000Z', min: 44.1, max: 47.9, mean: 45.3, last: 45.2, count: 30 }],
          },
        ],
      },
    ],
  },
)

/** The answer but its series, which are many and are written one by one. */
export function seriesHead(question: { readonly fromMs: number; readonly toMs: number }, answer: SeriesAnswer) {
  const { resolution, stepMs, exact, keptSinceMs, notes } = answer
  return {
    from: time(question.fromMs),
    to: time(question.toMs),
    resolution,
    stepMs,
    exact,
    keptSince: time(keptSinceMs),
    notes,
  }
}

export function seriesBody({ device, field, readings, points }: Series) {
  const { deviceId, siteId, serialNumber } = device
  return { deviceId, siteId, serialNumber, field, readings, points: points.map(pointBody) }
}

function pointBody(point: Point | StepPoint) {
  const at = time(point.atMs)
  if ('value' in point) return { at, value: point.value }
  const { min, max, mean, last, count } = point
  return { at, min, max, mean, last, count }
}

export const FieldsSchema = Type.Object(
  {
    items: Type.Array(Type.Object({ field: Type.String(), value: Type.Number(), at: TimeSchema }, closed), {
      description: 'By name',
    }),
  },
  {
    ...closed,
    $id: 'DeviceFields',
    description: 'Readings whose latest value is a number, with that value and its time',
  },
)

export const EXPORT_QUERY = {
  format: choiceOf(EXPORT_FORMATS, 'csv: a value a line, with a header line. ndjson: a JSON object a reading'),
  ...DEVICES_QUERY,
  field: Type.Optional({ ...FieldsQuery, description: `${FieldsQuery.description}. All of them where it is absent` }),
  ...STRETCH_QUERY,
  resolution: Type.Optional({ ...ResolutionSchema, default: 'raw' }),
}
