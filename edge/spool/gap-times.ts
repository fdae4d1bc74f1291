/**
 * When the lost records of a gap were received. The row of a gap keeps it in columns that only a block needed before, so
 * that spools of older versions are opened as they are, and older versions open ours: `boot` has the earlier boot of the two
 * times, and `data` both of them. To an older version such a gap has no times; neither has a gap that it wrote.
 */

import type { Instant } from './boot-time.ts'

/** Both clocks as they were then; not corrected, since the boot may learn its time later. */
export interface BootInstant extends Instant {
  /** Row of `boots`. */
  readonly boot: number
}

export interface GapTimes {
  /** When the first of the lost records was received; null when that is not known. */
  readonly first: BootInstant | null
  /** The last of them was received then or before; null when that is not known. */
  readonly last: BootInstant | null
}

export const UNKNOWN_TIMES: GapTimes = { first: null, last: null }

/** Of two gaps that become one. */
export function joinTimes(earlier: GapTimes, later: GapTimes): GapTimes {
  return { first: earlier.first, last: later.last }
}

/** The earlier boot of the two, which the spool has to remember; null when neither is known. */
export function earliestBoot({ first, last }: GapTimes): number | null {
  return first?.boot ?? last?.boot ?? null
}

/** Both times as three doubles each, NaN where they are not known; null when neither is. */
export function encodeGapTimes(times: GapTimes): Buffer | null {
  const { first, last } = times
  if (first === null && last === null) return null
  const bytes = Buffer.alloc(ENCODED_BYTES)
  for (const [index, time] of [first, last].entries()) {
    const values = time === null ? [Number.NaN, Number.NaN, Number.NaN] : [time.boot, time.wallMs, time.monotonicMs]
    for (const [place, value] of values.entries()) bytes.writeDoubleLE(value, index * TIME_BYTES + place * 8)
  }
  return bytes
}

/** What is not in the format has no times: a gap without times is still a gap. */
export function decodeGapTimes(bytes: Buffer | null): GapTimes {
  if (bytes?.length !== ENCODED_BYTES) return UNKNOWN_TIMES
  return { first: timeAt(bytes, 0), last: timeAt(bytes, TIME_BYTES) }
}

const TIME_BYTES = 3 * 8
const ENCODED_BYTES = 2 * TIME_BYTES

function timeAt(bytes: Buffer, offset: number): BootInstant | null {
  const [boot, wallMs, monotonicMs] = [0, 8, 16].map((place) => bytes.readDoubleLE(offset + place)) as [
    number,
    number,
    number,
  ]
  return [boot, wallMs, monotonicMs].every(Number.isFinite) ? { boot, wallMs, monotonicMs } : null
}
