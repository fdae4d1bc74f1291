/**
 * Whether the gateway knows the time. One without a battery boots in 1970 and learns the time later, often from a network that
 * its devices bring up. Until then the dates of certificates are not judged: refusing all of them would lock the site out,
 * while their signatures and what was revoked say as much as ever.
 */

/** A wall clock before 2020 was never set. Unix milliseconds. */
const BELIEVABLE_WALL_MS = Date.UTC(2020, 0, 1)

export function knowsTheTime(wallMs: number): boolean {
  return wallMs >= BELIEVABLE_WALL_MS
}
