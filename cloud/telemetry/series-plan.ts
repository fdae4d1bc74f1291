/** At which resolution a series is read, and into which steps of time its roll-ups are merged. */

import { DAY_MS } from '../../shared/durations.ts'
import { RESOLUTIONS, type Resolution } from './rollup.ts'

export const RESOLUTION_NAMES = ['raw', '1m', '15m', '1h', '1d'] as const
/** `raw`: the readings as they came. */
export type ResolutionName = (typeof RESOLUTION_NAMES)[number]

/** Of the config's section `telemetry`. */
export interface TelemetrySettings {
  readonly rawDays: number
  readonly rollup1mDays: number
  readonly rollup15mDays: number
  readonly rollup1hDays: number
  readonly rollup1dDays: number
  readonly rollUpDelayMs: number
  readonly seriesPointsMax: number
  readonly seriesMax: number
}

/** Readings that `auto` reads for one answer; beyond it roll-ups. */
export const AUTO_READINGS_MAX = 20_000
/** Beyond so many readings for a point a roll-up shows more than a choice of readings does. */
const READINGS_PER_POINT_MAX = 8
/** Rows, of a device and a time each, that are read for one answer; beyond it a request is refused. */
export const ROWS_MAX = 200_000
/** Values, of a row and a field each, that are held in memory for one answer; 16 bytes each. */
export const VALUES_MAX = 1_000_000
/** Buckets that an estimate reads for each device. */
const ESTIMATE_BUCKETS_MAX = 200

/** What a series is asked over. */
export interface Stretch {
  readonly fromMs: number
  /** Exclusive. */
  readonly toMs: number
}

/** Since when each resolution is kept; what is older may be gone. */
export type KeptSince = Readonly<Record<ResolutionName, number>>

export function keptSince(settings: TelemetrySettings, nowMs: number): KeptSince {
  const before = (days: number): number => nowMs - days * DAY_MS
  return {
    raw: before(settings.rawDays),
    '1m': before(settings.rollup1mDays),
    '15m': before(settings.rollup15mDays),
    '1h': before(settings.rollup1hDays),
    '1d': before(settings.rollup1dDays),
  }
}

export function resolutionOf(name: Exclude<ResolutionName, 'raw'>): Resolution {
  return RESOLUTIONS.find((resolution) => resolution.name === name) as Resolution
}

/** The roll-ups that tell cheaply how many readings there are: the finest with few buckets in the stretch, and kept for it. */
export function estimateResolution(stretch: Stretch, kept: KeptSince): Resolution {
  const cheap = RESOLUTIONS.find(
    (resolution) =>
      bucketsOf(stretch, resolution.ms) <= ESTIMATE_BUCKETS_MAX && kept[resolution.name] <= stretch.fromMs,
  )
  return cheap ?? (RESOLUTIONS[RESOLUTIONS.length - 1] as Resolution)
}

export interface Choice extends Stretch {
  /** For each series. */
  readonly pointsMax: number
  readonly devices: number
  readonly fields: number
  /** Estimated readings of all devices. */
  readonly readings: number
}

/**
 * Raw where there are few readings, otherwise the coarsest roll-ups that still fill the points: finer ones cost more rows and
 * are merged to the same points. Roll-ups that retention has partly dropped are passed over for coarser ones.
 */
export function chooseResolution(choice: Choice, kept: KeptSince): ResolutionName {
  const { fromMs, pointsMax, devices, fields, readings } = choice
  const few = Math.min(AUTO_READINGS_MAX, devices * pointsMax * READINGS_PER_POINT_MAX)
  if (kept.raw <= fromMs && readings <= few && readings * fields <= VALUES_MAX) return 'raw'
  return chooseRollups(choice, kept)
}

/** The same without raw. */
export function chooseRollups(choice: Choice, kept: KeptSince): Exclude<ResolutionName, 'raw'> {
  const { fromMs, pointsMax, devices } = choice
  const whole = RESOLUTIONS.filter(({ name }) => kept[name] <= fromMs)
  const affordable = whole.filter(({ ms }) => devices * bucketsOf(choice, ms) <= ROWS_MAX)
  const filling = affordable.filter(({ ms }) => bucketsOf(choice, ms) >= pointsMax)
  return (filling.at(-1) ?? affordable[0] ?? whole.at(-1) ?? (RESOLUTIONS.at(-1) as Resolution)).name
}

/** Buckets of `ms` that a stretch meets. */
export function bucketsOf({ fromMs, toMs }: Stretch, ms: number): number {
  return Math.max(0, Math.ceil(toMs / ms) - Math.floor(fromMs / ms))
}

/** Steps of equal length, which begin at multiples of it since 1970, UTC. */
export interface Steps extends Stretch {
  readonly stepMs: number
  readonly count: number
}

/** The shortest steps of whole buckets of which at most `pointsMax` meet the stretch. */
export function stepsOf(stretch: Stretch, bucketMs: number, pointsMax: number): Steps {
  let multiple = Math.max(1, Math.ceil(bucketsOf(stretch, bucketMs) / pointsMax))
  // Longer steps that begin at their own multiples may stand out further at the ends.
  while (bucketsOf(stretch, multiple * bucketMs) > pointsMax) multiple++
  const stepMs = multiple * bucketMs
  const fromMs = Math.floor(stretch.fromMs / stepMs) * stepMs
  const toMs = Math.ceil(stretch.toMs / stepMs) * stepMs
  return { fromMs, toMs, stepMs, count: (toMs - fromMs) / stepMs }
}
