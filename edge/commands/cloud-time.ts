/**
 * What the edge knows of the cloud's clock, which alone says when a command expires. The cloud tells its time at the start
 * of a session; from there the monotonic clock counts on, so that no step of the gateway's own wall clock matters. The
 * estimate is never early: it is taken as of before the cloud was asked, and it runs ahead by what a crystal may be slow.
 */

/** How much a gateway's monotonic clock may be slow, parts per million: a cheap crystal at the ends of its temperatures. */
const DRIFT_PPM = 100

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
