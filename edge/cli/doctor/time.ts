/** Is the wall clock one that event times can be taken from. */

import type { Clock } from '../../../shared/clock.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** No gateway of this software runs before it was written. */
const EARLIEST_MS = Date.UTC(2025, 0, 1)
/** Difference of the two clocks while the checks ran, beyond which the wall clock was stepped. */
const STEP_MS = 500

const HINT = 'let timesyncd, chrony or ntpd set the clock; until then records carry times that are corrected later'

/** @param begun both clocks when the first check began. */
export function checkTime(clock: Clock, begun: { readonly wallMs: number; readonly monotonicMs: number }): Finding {
  const wallMs = clock.wallMs()
  const now = new Date(wallMs).toISOString()
  if (wallMs < EARLIEST_MS) return fail('clock', `the clock says ${now}`, HINT)
  const steppedMs = wallMs - begun.wallMs - (clock.monotonicMs() - begun.monotonicMs)
  if (Math.abs(steppedMs) > STEP_MS) {
    return warn('clock', `the clock was stepped by ${Math.round(steppedMs)} ms just now, to ${now}`, HINT)
  }
  return ok('clock', `the clock says ${now}`)
}
