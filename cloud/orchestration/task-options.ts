/** How a task treats its devices: expiry, time-outs, retries, concurrency, rate, abort, start. One schema for API and topic. */

import { type Static, Type } from '@sinclair/typebox'
import { DAY_MS } from '../../shared/durations.ts'
import { INSTANT_FORM, readInstant } from '../../shared/instant.ts'

const closed = { additionalProperties: false }
/** Between the start of a task and its expiry. */
export const EXPIRY_MS_MAX = 30 * DAY_MS
/** Between the request and the start. */
export const START_AHEAD_MS_MAX = 365 * DAY_MS

const TimeSchema = Type.String({ format: 'date-time', description: INSTANT_FORM })
const milliseconds = (minimum: number, maximum: number, description: string) =>
  Type.Integer({ minimum, maximum, description })
const number = (minimum: number, maximum: number, description: string) =>
  Type.Integer({ minimum, maximum, description })

/** Outcomes after which another attempt can make sense before the task expires. */
const RetryCauseSchema = Type.Union([Type.Literal('FAILED'), Type.Literal('REJECTED'), Type.Literal('TIMED_OUT')])
const AbortCauseSchema = Type.Union([
  Type.Literal('FAILED'),
  Type.Literal('REJECTED'),
  Type.Literal('TIMED_OUT'),
  Type.Literal('EXPIRED'),
  Type.Literal('ANY'),
])

const RetriesSchema = Type.Object(
  {
    max: number(0, 20, 'Further attempts for a device'),
    backoff_ms: Type.Optional(
      milliseconds(0, DAY_MS, 'Longest delay before the first further attempt; doubles each time. Default 10000'),
    ),
    max_backoff_ms: Type.Optional(milliseconds(0, DAY_MS, 'Longest delay before any. Default 600000')),
    on: Type.Optional(
      Type.Array(RetryCauseSchema, {
        minItems: 1,
        maxItems: 3,
        description: 'What is tried again. Default FAILED and TIMED_OUT; after TIMED_OUT a device may do it twice',
      }),
    ),
  },
  closed,
)
const RateSchema = Type.Object(
  {
    per_minute: number(1, 1_000_000, 'Commands a minute at the beginning'),
    growth_factor: Type.Optional(
      Type.Number({ minimum: 1, maximum: 100, description: 'What the rate is multiplied with. Default 1: it stays' }),
    ),
    grow_after: Type.Optional(
      number(1, 100_000, 'Commands after which it is multiplied, again and again. Default 100'),
    ),
    max_per_minute: Type.Optional(number(1, 1_000_000, 'It grows no further. Default 1000000')),
  },
  closed,
)
const AbortSchema = Type.Object(
  {
    on: AbortCauseSchema,
    percent: Type.Number({
      exclusiveMinimum: 0,
      maximum: 100,
      description: 'Of the results so far; at this share the task is aborted',
    }),
    min_results: Type.Optional(number(1, 100_000, 'Results before the share counts. Default 1')),
  },
  closed,
)

export const TaskOptionsSchema = Type.Object(
  {
    expires_at: Type.Optional(TimeSchema),
    expires_in_ms: Type.Optional(milliseconds(1_000, EXPIRY_MS_MAX, 'The same, counted from the start of the task')),
    timeout_ms: Type.Optional(milliseconds(100, DAY_MS, 'How long a device may take to answer')),
    retries: Type.Optional(RetriesSchema),
    concurrency: Type.Optional(number(1, 100_000, 'Devices that may have their command at one time')),
    rate: Type.Optional(RateSchema),
    abort: Type.Optional(Type.Array(AbortSchema, { maxItems: 10 })),
    start_at: Type.Optional(TimeSchema),
  },
  { ...closed, description: 'How the task treats its devices; what is absent takes the default of the server' },
)
/** As somebody asks for them. */
export type RequestedOptions = Static<typeof TaskOptionsSchema>
export type RetryCause = Static<typeof RetryCauseSchema>
export type AbortThreshold = Required<Static<typeof AbortSchema>>
export type TaskRate = Required<Static<typeof RateSchema>>

/** Complete, as stored. Start and expiry are kept beside them, since a retry moves both. */
export interface TaskOptions {
  readonly timeout_ms: number
  readonly retries: {
    readonly max: number
    readonly backoff_ms: number
    readonly max_backoff_ms: number
    readonly on: readonly RetryCause[]
  }
  readonly concurrency: number
  /** Null: as fast as concurrency allows. */
  readonly rate: TaskRate | null
  readonly abort: readonly AbortThreshold[]
}

/** Where the request says nothing. */
export interface TaskDefaults {
  readonly expiryMs: number
  readonly timeoutMs: number
  readonly concurrency: number
}

export interface OptionFault {
  /** Within the options: `/expires_at`. */
  readonly pointer: string
  readonly value: unknown
  readonly remedy: string
}

export interface ReadOptions {
  readonly options: TaskOptions
  readonly startAtMs: number
  readonly expiresAtMs: number
  /** What the schema cannot say; when there are any the rest does not count. */
  readonly faults: readonly OptionFault[]
}

/** @param requested matches the schema. */
export function readOptions(requested: RequestedOptions, nowMs: number, defaults: TaskDefaults): ReadOptions {
  const { retries, rate, abort = [] } = requested
  const faults: OptionFault[] = []
  const startAtMs = Math.max(nowMs, instantOf(requested.start_at) ?? nowMs)
  if (startAtMs > nowMs + START_AHEAD_MS_MAX) {
    faults.push({ pointer: '/start_at', value: requested.start_at, remedy: 'a time within the next 365 days' })
  }
  const backoff_ms = retries?.backoff_ms ?? 10_000
  const options: TaskOptions = {
    timeout_ms: requested.timeout_ms ?? defaults.timeoutMs,
    retries: {
      max: retries?.max ?? 0,
      backoff_ms,
      max_backoff_ms: Math.max(backoff_ms, retries?.max_backoff_ms ?? 600_000),
      on: retries?.on ?? ['FAILED', 'TIMED_OUT'],
    },
    concurrency: requested.concurrency ?? defaults.concurrency,
    rate:
      rate === undefined
        ? null
        : {
            per_minute: rate.per_minute,
            growth_factor: rate.growth_factor ?? 1,
            grow_after: rate.grow_after ?? 100,
            max_per_minute: Math.max(rate.per_minute, rate.max_per_minute ?? 1_000_000),
          },
    abort: abort.map(({ on, percent, min_results = 1 }) => ({ on, percent, min_results })),
  }
  return { options, startAtMs, expiresAtMs: expiryOf(requested, startAtMs, defaults, faults), faults }
}

/** As the API shows and task.requested carries them. */
export function optionsBody(options: TaskOptions, startAtMs: number, expiresAtMs: number) {
  const { rate, ...rest } = options
  return {
    start_at: new Date(startAtMs).toISOString(),
    expires_at: new Date(expiresAtMs).toISOString(),
    ...rest,
    ...(rate === null ? {} : { rate }),
  }
}

function expiryOf(
  requested: RequestedOptions,
  startAtMs: number,
  defaults: TaskDefaults,
  faults: OptionFault[],
): number {
  const { expires_at, expires_in_ms } = requested
  if (expires_at !== undefined && expires_in_ms !== undefined) {
    const remedy = 'leave it out, or leave out expires_at: they say the same'
    faults.push({ pointer: '/expires_in_ms', value: expires_in_ms, remedy })
  }
  const expiresAtMs = instantOf(requested.expires_at) ?? startAtMs + (expires_in_ms ?? defaults.expiryMs)
  if (expiresAtMs <= startAtMs || expiresAtMs > startAtMs + EXPIRY_MS_MAX) {
    const remedy = `a time after ${new Date(startAtMs).toISOString()}, when the task starts, by 30 days at most`
    faults.push({ pointer: '/expires_at', value: expires_at, remedy })
  }
  return expiresAtMs
}

function instantOf(text: string | undefined): number | null {
  return text === undefined ? null : readInstant(text)
}
