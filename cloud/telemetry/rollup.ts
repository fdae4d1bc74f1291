/**
 * What readings come to in a bucket of time, and how two such sums become one. Merging is commutative and associative (but
 * for the last bits of a sum), so late and backfilled readings correct a roll-up in whatever order they come.
 */

/** Buckets begin at multiples of `ms` since 1970, UTC. */
export interface Resolution {
  readonly name: '1m' | '15m' | '1h' | '1d'
  readonly ms: number
  readonly table: 'rollups_1m' | 'rollups_15m' | 'rollups_1h' | 'rollups_1d'
}

export const RESOLUTIONS: readonly Resolution[] = [
  { name: '1m', ms: 60_000, table: 'rollups_1m' },
  { name: '15m', ms: 900_000, table: 'rollups_15m' },
  { name: '1h', ms: 3_600_000, table: 'rollups_1h' },
  { name: '1d', ms: 86_400_000, table: 'rollups_1d' },
]

/** The values of one numeric field in one bucket. Other values than finite numbers are not rolled up. */
export interface FieldRollup {
  readonly count: number
  readonly min: number
  readonly max: number
  readonly sum: number
  /** The value with the greatest event time, and of those with the greatest sequence. */
  readonly last: number
  readonly lastAtMs: number
  readonly lastSeq: number
}

export function bucketOf(atMs: number, resolutionMs: number): number {
  return Math.floor(atMs / resolutionMs) * resolutionMs
}

export function rollupOf(value: number, atMs: number, seq: number): FieldRollup {
  return { count: 1, min: value, max: value, sum: value, last: value, lastAtMs: atMs, lastSeq: seq }
}

export function mergeRollups(a: FieldRollup, b: FieldRollup): FieldRollup {
  const later = b.lastAtMs > a.lastAtMs || (b.lastAtMs === a.lastAtMs && b.lastSeq > a.lastSeq) ? b : a
  return {
    count: a.count + b.count,
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    sum: finite(a.sum + b.sum),
    last: later.last,
    lastAtMs: later.lastAtMs,
    lastSeq: later.lastSeq,
  }
}

/** JSON knows no infinity; a sum that leaves the range of a number stays at its end. */
function finite(sum: number): number {
  return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, sum))
}

/** A single value stands for itself, as it does in most buckets of devices that report once a minute. */
type Encoded =
  | [value: number, atMs: number, seq: number]
  | [count: number, min: number, max: number, sum: number, last: number, lastAtMs: number, lastSeq: number]

export type EncodedRollups = Readonly<Record<string, Encoded>>

/** JSON object: field name → [count, min, max, sum, last, last event time, last sequence], or of one [value, time, sequence]. */
export function encodeRollups(fields: ReadonlyMap<string, FieldRollup>): string {
  let members = ''
  for (const [name, { count, min, max, sum, last, lastAtMs, lastSeq }] of fields) {
    const several = count === 1 ? '' : `${count},${min},${max},${sum},`
    members += `${members === '' ? '' : ','}${JSON.stringify(name)}:[${several}${last},${lastAtMs},${lastSeq}]`
  }
  return `{${members}}`
}

/** @param encoded what `encodeRollups` wrote, as text or parsed. */
export function decodeRollups(encoded: string | EncodedRollups): Map<string, FieldRollup> {
  const members = typeof encoded === 'string' ? (JSON.parse(encoded) as EncodedRollups) : encoded
  const fields = new Map<string, FieldRollup>()
  for (const name of Object.keys(members)) {
    const member = members[name] as Encoded
    if (member.length === 3) fields.set(name, rollupOf(...member))
    else {
      const [count, min, max, sum, last, lastAtMs, lastSeq] = member
      fields.set(name, { count, min, max, sum, last, lastAtMs, lastSeq })
    }
  }
  return fields
}
