/** Reads series at the resolution that is asked for, or at one that suits, within what one answer may cost. */

import { DOWNSAMPLING_METHODS, type DownsamplingMethod, downsample, type Point } from './downsample.ts'
import { bucketOf } from './rollup.ts'
import { RawSeries, type StepPoint, StepSeries } from './series.ts'
import { pagesByTime } from './series-pages.ts'
import {
  bucketsOf,
  type Choice,
  chooseResolution,
  chooseRollups,
  estimateResolution,
  type KeptSince,
  keptSince,
  type ResolutionName,
  ROWS_MAX,
  resolutionOf,
  type Stretch,
  stepsOf,
  type TelemetrySettings,
  VALUES_MAX,
} from './series-plan.ts'
import type { Density, QueriedDevice, ReadingRow, RollupRow, SeriesStore } from './series-store.ts'
import { QueryRefusedError } from './telemetry-queries-errors.ts'

/** Points of a series where none are asked for. */
export const POINTS_DEFAULT = 500
/** Fewer than these make no chart. */
export const POINTS_MIN = 10
/** Readings of the newest stretch that are read beside roll-ups which may not have them yet. */
const TAIL_READINGS_MAX = 5_000
/** Length of that stretch, in delays of the roll-up and at least milliseconds. */
const TAIL_DELAYS = 3
const TAIL_MS_MIN = 60_000
/** How far beyond the present there may be readings that nothing is rolled up of, milliseconds. */
const FUTURE_MS = 600_000

export interface SeriesQuestion extends Stretch {
  readonly fields: readonly string[]
  /** Default `auto`. */
  readonly resolution?: ResolutionName | 'auto' | undefined
  /** Default 500. */
  readonly pointsMax?: number | undefined
  /** What is done with more raw readings than points; default `minmax`. */
  readonly method?: DownsamplingMethod | undefined
}

export interface Series {
  readonly device: QueriedDevice
  readonly field: string
  /** Readings that the points were made of. */
  readonly readings: number
  /** Ascending by time. */
  readonly points: readonly (Point | StepPoint)[]
}

export interface SeriesAnswer {
  readonly resolution: ResolutionName
  /** Length of the step that a point stands for, milliseconds; null of raw readings. */
  readonly stepMs: number | null
  /** Every reading of the stretch is a point. */
  readonly exact: boolean
  /** Sentences on what to know of these points. */
  readonly notes: readonly string[]
  /** Since when this resolution is kept, Unix milliseconds. */
  readonly keptSinceMs: number
  readonly series: readonly Series[]
}

type Answered = Omit<SeriesAnswer, 'keptSinceMs'>

export class SeriesReader {
  private readonly store: SeriesStore
  private readonly settings: TelemetrySettings

  constructor(store: SeriesStore, settings: TelemetrySettings) {
    this.store = store
    this.settings = settings
  }

  /** @throws QueryRefusedError when it would take more than an answer may cost. */
  async read(question: SeriesQuestion, devices: readonly QueriedDevice[], nowMs: number): Promise<SeriesAnswer> {
    const { resolution = 'auto' } = question
    const kept = keptSince(this.settings, nowMs)
    const ids = devices.map(({ deviceId }) => deviceId)
    const estimate = estimateResolution(question, kept)
    const density = await this.store.density(estimate, ids, question)
    const choice: Choice = {
      ...extentOf(question, density, estimate.ms, nowMs),
      pointsMax: question.pointsMax ?? POINTS_DEFAULT,
      devices: devices.length,
      fields: question.fields.length,
      readings: density.readings,
    }
    const answer =
      resolution === 'auto'
        ? await this.readSuiting(question, devices, choice, kept, nowMs)
        : await this.readAt(resolution, question, devices, choice, nowMs)
    if (answer === null) throw tooMany(resolution, choice)
    const keptSinceMs = kept[answer.resolution]
    return { ...(question.fromMs < keptSinceMs ? withRetention(answer, keptSinceMs) : answer), keptSinceMs }
  }

  private async readSuiting(
    question: SeriesQuestion,
    devices: readonly QueriedDevice[],
    choice: Choice,
    kept: KeptSince,
    nowMs: number,
  ): Promise<Answered | null> {
    const chosen = chooseResolution(choice, kept)
    // Readings that are not rolled up yet are not in the estimate, so raw may turn out too much.
    const answer = await this.readAt(chosen, question, devices, choice, nowMs)
    const suiting = answer ?? (await this.readAt(chooseRollups(choice, kept), question, devices, choice, nowMs))
    const ideal = chooseResolution(choice, FOR_EVER)
    if (suiting === null || chosen === ideal || ideal !== 'raw') return suiting
    const note = `Raw readings are kept since ${new Date(kept.raw).toISOString()} only, so these are roll-ups.`
    return { ...suiting, notes: [...suiting.notes, note] }
  }

  /** Null when it is more than one answer may read. */
  private async readAt(
    resolution: ResolutionName,
    question: SeriesQuestion,
    devices: readonly QueriedDevice[],
    choice: Choice,
    nowMs: number,
  ): Promise<Answered | null> {
    return resolution === 'raw'
      ? await this.readRaw(question, devices, choice)
      : await this.readSteps(resolution, question, devices, choice, nowMs)
  }

  private async readRaw(
    question: SeriesQuestion,
    devices: readonly QueriedDevice[],
    { readings, pointsMax, fields }: Choice,
  ): Promise<Answered | null> {
    const rowsMax = Math.min(ROWS_MAX, Math.floor(VALUES_MAX / fields))
    if (readings > rowsMax) return null
    const { method = DOWNSAMPLING_METHODS[0] } = question
    const ids = devices.map(({ deviceId }) => deviceId)
    const raw = new RawSeries(question.fields)
    let rows = 0
    const pages = pagesByTime<ReadingRow>((...page) => this.store.readings(ids, ...page), question, readings)
    for await (const page of pages) {
      raw.add(page)
      rows += page.length
      if (rows > rowsMax) return null
    }
    const series = seriesOf(devices, question.fields, (deviceId, field) => {
      const points = raw.points(deviceId, field)
      return { readings: points.length, points: downsample(points, pointsMax, method) }
    })
    const thinned = series.some((each) => each.points.length < each.readings)
    return {
      resolution: 'raw',
      stepMs: null,
      exact: !thinned,
      notes: thinned ? [`There are more readings than maxPoints: ${METHODS[method]}`] : [],
      series,
    }
  }

  private async readSteps(
    name: Exclude<ResolutionName, 'raw'>,
    question: SeriesQuestion,
    devices: readonly QueriedDevice[],
    choice: Choice,
    nowMs: number,
  ): Promise<Answered | null> {
    const { pointsMax, readings } = choice
    const resolution = resolutionOf(name)
    const steps = stepsOf(choice, resolution.ms, pointsMax)
    const expected = Math.min(devices.length * bucketsOf(steps, resolution.ms), readings)
    if (expected > ROWS_MAX) return null
    const ids = devices.map(({ deviceId }) => deviceId)
    const sums = new StepSeries(question.fields, steps)
    const tailMs = await this.addTail(sums, ids, steps, resolution.ms, nowMs)
    const rolledUp = { fromMs: steps.fromMs, toMs: tailMs }
    for await (const page of pagesByTime<RollupRow>(
      (...page) => this.store.rollups(resolution, ids, ...page),
      rolledUp,
      expected,
    )) {
      sums.addRollups(page)
    }
    const series = seriesOf(devices, question.fields, (deviceId, field) => {
      const points = sums.points(deviceId, field, question.fromMs)
      return { readings: points.reduce((count, point) => count + point.count, 0), points }
    })
    const merged = steps.stepMs > resolution.ms ? `, merged from roll-ups of ${name},` : ''
    const note = `A point is what the readings of ${steps.stepMs / 1000} s${merged} come to; the first and the last may begin before \`from\` and end after \`to\`.`
    return { resolution: name, stepMs: steps.stepMs, exact: false, notes: [note], series }
  }

  /**
   * Roll-ups follow the readings after a while. Readings of the newest buckets are summed here in their place, where they
   * are few. Both never cover the same time, so whatever is rolled up meanwhile counts once.
   * @returns where the roll-ups end, Unix milliseconds.
   */
  private async addTail(
    sums: StepSeries,
    ids: readonly number[],
    { fromMs, toMs }: Stretch,
    bucketMs: number,
    nowMs: number,
  ): Promise<number> {
    const behindMs = Math.max(TAIL_MS_MIN, TAIL_DELAYS * this.settings.rollUpDelayMs)
    const tail = { fromMs: Math.max(fromMs, bucketOf(nowMs - behindMs, bucketMs)), toMs }
    if (tail.fromMs >= toMs) return toMs
    const limit = TAIL_READINGS_MAX + 1
    const rows = await this.store.readings(ids, tail, null, limit)
    if (rows.length === limit) return toMs
    sums.addReadings(rows)
    return tail.fromMs
  }
}

const METHODS: Readonly<Record<DownsamplingMethod, string>> = {
  minmax: 'of each stretch of time the least and the greatest are shown.',
  lttb: 'those are shown that keep the shape (LTTB); an extreme may be missing, which method=minmax keeps.',
}

const FOR_EVER: KeptSince = { raw: -Infinity, '1m': -Infinity, '15m': -Infinity, '1h': -Infinity, '1d': -Infinity }

/** The part of what is asked for that may hold readings: what comes before the first of them needs no points. */
function extentOf({ fromMs, toMs }: Stretch, { firstMs, lastMs }: Density, bucketMs: number, nowMs: number): Stretch {
  const lastEndMs = Math.max((lastMs ?? fromMs) + bucketMs, nowMs + FUTURE_MS)
  const endMs = Math.max(fromMs + 1, Math.min(toMs, lastEndMs))
  return { fromMs: Math.min(Math.max(fromMs, firstMs ?? fromMs), endMs - 1), toMs: endMs }
}

function seriesOf(
  devices: readonly QueriedDevice[],
  fields: readonly string[],
  pointsOf: (deviceId: number, field: string) => Pick<Series, 'readings' | 'points'>,
): Series[] {
  return devices.flatMap((device) => fields.map((field) => ({ device, field, ...pointsOf(device.deviceId, field) })))
}

function withRetention(answer: Answered, keptSinceMs: number): Answered {
  const since = new Date(keptSinceMs).toISOString()
  const note = `This resolution is kept since ${since}; what is older may be missing. Coarser resolutions are kept for longer.`
  return { ...answer, exact: false, notes: [...answer.notes, note] }
}

function tooMany(resolution: ResolutionName | 'auto', { readings, devices, fields }: Choice): QueryRefusedError {
  const least = `one answer reads ${ROWS_MAX} rows at most, and the stretch has about ${readings} readings of ${devices} devices with ${fields} fields asked for`
  return resolution === 'auto'
    ? new QueryRefusedError([
        { field: 'from', value: resolution, remedy: `a shorter stretch or fewer devices: ${least}` },
      ])
    : new QueryRefusedError([
        { field: 'resolution', value: resolution, remedy: `a coarser one, auto, or a shorter stretch: ${least}` },
      ])
}
