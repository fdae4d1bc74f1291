/**
 * What newly stored readings add to the roll-ups: sums by device and minute, from which those of longer buckets follow. A
 * delta is stored with its readings in one transaction and taken out with the roll-ups that it changes in another, so every
 * reading is in every roll-up exactly once.
 */

import { FIELD_CHARS_MAX, FIELDS_MAX, type FieldDrops } from './latest-fields.ts'
import {
  bucketOf,
  decodeRollups,
  type EncodedRollups,
  encodeRollups,
  type FieldRollup,
  mergeRollups,
  rollupOf,
} from './rollup.ts'

/** The readings of one device in one bucket. */
export interface BucketRollup {
  readonly deviceId: number
  readonly bucketMs: number
  records: number
  readonly fields: Map<string, FieldRollup>
}

/** A delta as it is stored. */
export interface DeltaBody {
  readonly body: string
  readonly readings: number
  readonly entries: number
}

/** What is summed: a stored reading. */
export interface SummedReading {
  readonly deviceId: number
  readonly atMs: number
  readonly seq: number
  readonly fields: Readonly<Record<string, unknown>>
}

export const DELTA_RESOLUTION_MS = 60_000

/** Sums by bucket, in any order of arrival. */
export class RollupSums {
  /** By device, then by begin of the bucket. */
  private readonly devices = new Map<number, Map<number, BucketRollup>>()
  /** Buckets, and fields in them. */
  entries = 0

  addReading({ deviceId, atMs, seq, fields }: SummedReading, drops: FieldDrops): void {
    const bucket = this.bucket(deviceId, bucketOf(atMs, DELTA_RESOLUTION_MS))
    bucket.records++
    for (const name of Object.keys(fields)) {
      const value = fields[name]
      if (typeof value === 'number' && Number.isFinite(value)) {
        this.addField(bucket, name, rollupOf(value, atMs, seq), drops)
      }
    }
  }

  /** @param resolutionMs of the buckets summed here. */
  add(part: BucketRollup, resolutionMs: number, drops: FieldDrops): void {
    const bucket = this.bucket(part.deviceId, bucketOf(part.bucketMs, resolutionMs))
    bucket.records += part.records
    for (const [name, rollup] of part.fields) this.addField(bucket, name, rollup, drops)
  }

  /** By device and time: the order in which all cores lock their rows. */
  sorted(): BucketRollup[] {
    const sorted: BucketRollup[] = []
    for (const deviceId of [...this.devices.keys()].sort((a, b) => a - b)) {
      const buckets = this.devices.get(deviceId) as Map<number, BucketRollup>
      sorted.push(...[...buckets.values()].sort((a, b) => a.bucketMs - b.bucketMs))
    }
    return sorted
  }

  private bucket(deviceId: number, bucketMs: number): BucketRollup {
    let buckets = this.devices.get(deviceId)
    if (buckets === undefined) {
      buckets = new Map()
      this.devices.set(deviceId, buckets)
    }
    let bucket = buckets.get(bucketMs)
    if (bucket === undefined) {
      bucket = { deviceId, bucketMs, records: 0, fields: new Map() }
      buckets.set(bucketMs, bucket)
      this.entries++
    }
    return bucket
  }

  private addField(bucket: BucketRollup, name: string, rollup: FieldRollup, drops: FieldDrops): void {
    const before = bucket.fields.size
    mergeField(bucket.fields, name, rollup, drops)
    this.entries += bucket.fields.size - before
  }
}

/** Adds one field to a bucket's; beyond the limit new names are not rolled up. */
export function mergeField(
  fields: Map<string, FieldRollup>,
  name: string,
  rollup: FieldRollup,
  drops: FieldDrops,
): void {
  const known = fields.get(name)
  if (known !== undefined) fields.set(name, mergeRollups(known, rollup))
  else if (name.length > FIELD_CHARS_MAX) drops.tooLong++
  else if (fields.size >= FIELDS_MAX) drops.tooMany++
  else fields.set(name, rollup)
}

/** @param entriesMax of one body; one bucket is never parted. */
export function encodeDeltas(buckets: readonly BucketRollup[], entriesMax: number): DeltaBody[] {
  const bodies: DeltaBody[] = []
  let [parts, readings, entries]: [string[], number, number] = [[], 0, 0]
  const finish = (): void => {
    if (parts.length > 0) bodies.push({ body: `[${parts.join(',')}]`, readings, entries })
    ;[parts, readings, entries] = [[], 0, 0]
  }
  for (const { deviceId, bucketMs, records, fields } of buckets) {
    if (entries + fields.size + 1 > entriesMax) finish()
    parts.push(`[${deviceId},${bucketMs},${records},${encodeRollups(fields)}]`)
    readings += records
    entries += fields.size + 1
  }
  finish()
  return bodies
}

export function decodeDelta(body: string): BucketRollup[] {
  const parts = JSON.parse(body) as [number, number, number, EncodedRollups][]
  return parts.map(([deviceId, bucketMs, records, fields]) => ({
    deviceId,
    bucketMs,
    records,
    fields: decodeRollups(fields),
  }))
}
