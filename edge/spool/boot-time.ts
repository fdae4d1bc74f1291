/**
 * Time that survives a wrong wall clock. A gateway without a battery boots in 1970 and learns the time later. Every block
 * carries the monotonic clock of its boot; the spool remembers for each boot the last known distance between wall clock
 * and monotonic clock, so what was stored before the clock was set comes out with its true time.
 */

import { BELIEVABLE_WALL_MS, CLOCK_SETTLED_MS, CLOCK_STEP_MS } from './limits.ts'

/** Both clocks, read together, in whole milliseconds. `monotonicMs` counts since the boot of the operating system. */
export interface Instant {
  readonly wallMs: number
  readonly monotonicMs: number
}

/** Wall clock minus monotonic clock; constant while the wall clock is not stepped. */
export function wallOffsetMs(at: Instant): number {
  return at.wallMs - at.monotonicMs
}

/** True when the clock was stepped since `known` was noted; slewing and reading noise stay below it. */
export function isStep(known: number, offset: number): boolean {
  return Math.abs(offset - known) > CLOCK_STEP_MS
}

/** The wall clock of `at`, corrected when its boot later learned another time. */
export function correctedWallMs(at: Instant, learnedOffsetMs: number | null): number {
  if (learnedOffsetMs === null || !isStep(learnedOffsetMs, wallOffsetMs(at))) return at.wallMs
  return at.monotonicMs + learnedOffsetMs
}

/** Follows the wall clock of the present boot. */
export class BootClock {
  private offset: number
  private heldSinceMs: number

  constructor(now: Instant) {
    this.offset = wallOffsetMs(now)
    this.heldSinceMs = now.monotonicMs
  }

  get offsetMs(): number {
    return this.offset
  }

  /** Takes notice of the time; true when the wall clock was stepped since the last call that said so. */
  observe(now: Instant): boolean {
    const offset = wallOffsetMs(now)
    if (!isStep(this.offset, offset)) return false
    this.offset = offset
    this.heldSinceMs = now.monotonicMs
    return true
  }

  /** False for a while after the start and after a step: the clock may be about to be set. */
  isSettled(now: Instant): boolean {
    return now.monotonicMs - this.heldSinceMs >= CLOCK_SETTLED_MS
  }
}

/**
 * Age of what was stored at `at`, milliseconds. Within one boot only the monotonic clock counts; across boots the wall
 * clocks are compared, but not before the present one has settled, so that a wrong clock gives nothing up.
 */
export function ageMs(
  at: Instant & { readonly sameBoot: boolean },
  learnedOffsetMs: number | null,
  now: Instant,
  settled: boolean,
): number {
  if (at.sameBoot) return now.monotonicMs - at.monotonicMs
  if (!settled) return 0
  const storedMs = correctedWallMs(at, learnedOffsetMs)
  // A boot that never learned the time says only that it was before this one.
  if (storedMs < BELIEVABLE_WALL_MS || now.wallMs < BELIEVABLE_WALL_MS) return now.monotonicMs
  return now.wallMs - storedMs
}
