/** Series of numeric fields as they are gathered from rows: readings as they came, or roll-ups merged into steps. */

import type { Point } from './downsample.ts'
import { decodeRollups, type FieldRollup, mergeRollups, rollupOf } from './rollup.ts'
import type { Steps } from './series-plan.ts'
import type { ReadingRow, RollupRow } from './series-store.ts'

/** What the readings of a step come to. */
export interface StepPoint {
  /** Begin of the step, Unix milliseconds. */
  readonly atMs: number
  readonly min: number
  readonly max: number
  readonly mean: number
  /** The latest of its readings. */
  readonly last: number
  readonly count: number
}

/** A JSON object's own members that are finite numbers, of those named. */
export function* numbersOf(json: string, names: readonly string[]): Generator<[name: string, value: number]> {
  const fields = JSON.parse(json) as Record<string, unknown>
  for (const name of names) {
    const value = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (typeof value === 'number' && Number.isFinite(value)) yield [name, value]
  }
}

/** Points of every device and field. */
export class RawSeries {
  private readonly fields: readonly string[]
  private readonly series = new Map<string, Point[]>()

  constructor(fields: readonly string[]) {
    this.fields = fields
  }

  /** @param rows each page later than the one before. */
  add(rows: readonly ReadingRow[]): void {
    for (const row of rows) {
      for (const [name, value] of numbersOf(row.fields, this.fields)) {
        const key = keyOf(row.device_id, name)
        const points = this.series.get(key)
        if (points === undefined) this.series.set(key, [{ atMs: row.at_ms, value }])
        else points.push({ atMs: row.at_ms, value })
      }
    }
  }

  points(deviceId: number, field: string): readonly Point[] {
    return this.series.get(keyOf(deviceId, field)) ?? []
  }
}

/** Sums of every device and field, one for each step; rows may come in any order. */
export class StepSeries {
  private readonly fields: readonly string[]
  private readonly steps: Steps
  private readonly series = new Map<string, (FieldRollup | undefined)[]>()

  constructor(fields: readonly string[], steps: Steps) {
    this.fields = fields
    this.steps = steps
  }

  addRollups(rows: readonly RollupRow[]): void {
    for (const row of rows) {
      const rollups = decodeRollups(row.fields)
      for (const field of this.fields) {
        const rollup = rollups.get(field)
        if (rollup !== undefined) this.merge(row.device_id, field, row.bucket_ms, rollup)
      }
    }
  }

  addReadings(rows: readonly ReadingRow[]): void {
    for (const row of rows) {
      for (const [field, value] of numbersOf(row.fields, this.fields)) {
        this.merge(row.device_id, field, row.at_ms, rollupOf(value, row.at_ms, row.seq))
      }
    }
  }

  /** @param fromMs a step all of whose readings come before it has no point. */
  points(deviceId: number, field: string, fromMs: number): StepPoint[] {
    const points: StepPoint[] = []
    for (const [step, sums] of (this.series.get(keyOf(deviceId, field)) ?? []).entries()) {
      if (sums !== undefined && sums.lastAtMs >= fromMs)
        points.push(stepPoint(this.steps.fromMs + step * this.steps.stepMs, sums))
    }
    return points
  }

  private merge(deviceId: number, field: string, atMs: number, rollup: FieldRollup): void {
    const key = keyOf(deviceId, field)
    let sums = this.series.get(key)
    if (sums === undefined) {
      sums = new Array<FieldRollup | undefined>(this.steps.count).fill(undefined)
      this.series.set(key, sums)
    }
    const step = Math.floor((atMs - this.steps.fromMs) / this.steps.stepMs)
    const known = sums[step]
    sums[step] = known === undefined ? rollup : mergeRollups(known, rollup)
  }
}

export function stepPoint(atMs: number, { min, max, sum, last, count }: FieldRollup): StepPoint {
  // A sum of huge values may leave the range of numbers, and with it the way of rounding; the mean does neither.
  const mean = Math.min(max, Math.max(min, sum / count))
  return { atMs, min, max, mean, last, count }
}

function keyOf(deviceId: number, field: string): string {
  return `${deviceId}/${field}`
}
