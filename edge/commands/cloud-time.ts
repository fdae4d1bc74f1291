/**
 * What the edge knows of the cloud's clock, which alone says when a command expires. The cloud tells its time at the start
 * of a session and with each acknowledgement; from there the monotonic clock counts on, so that no step of the gateway's own
 * wall clock matters. The estimate is never early: it is taken as of before the cloud was asked, and it runs ahead by what a
 * crystal may be slow.
 */

/** How much a gateway's monotonic clock may be slow, parts per million: a cheap crystal at the ends of its temperatures. */
const DRIFT_PPM = 100

/** What an acknowledgement must better the estimate by, so that not each of them is put on disk. */
const BETTER_MS = 1_000

export interface LearnedTime {
  /** The cloud's wall clock minus the monotonic clock since the boot, at most too large. Milliseconds. */
  readonly offsetMs: number
  /** When it was learned, on that monotonic clock. */
  readonly atMs: number
}

/** The latest that the cloud's wall clock can be, Unix milliseconds; null while nothing is known of it in this boot. */
export function cloudWallMs(learned: LearnedTime | null, monotonicMs: number): number | null {
  if (learned === null) return null
  const sinceMs = Math.max(0, monotonicMs - learned.atMs)
  return Math.ceil(monotonicMs + learned.offsetMs + (sinceMs * DRIFT_PPM) / (1e6 - DRIFT_PPM))
}

/**
 * What is known after the cloud's wall clock said `wallMs` at some moment between `sinceMs` and `nowMs`, both monotonic; the same
 * when that is no better.
 */
export function confirmed(learned: LearnedTime, wallMs: number, sinceMs: number, nowMs: number): LearnedTime {
  const fresh: LearnedTime = { offsetMs: Math.ceil(wallMs - sinceMs), atMs: Math.floor(sinceMs) }
  const known = cloudWallMs(learned, nowMs) as number
  // Behind: this machine slept, during which its clock stood still, or the cloud's clock was set forward.
  const isBehind = known < wallMs
  return isBehind || (cloudWallMs(fresh, nowMs) as number) <= known - BETTER_MS ? fresh : learned
}
