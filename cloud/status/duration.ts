/** Durations in the sentences that people read. */

import { formatDuration } from '../../shared/cli/format.ts'

/** `15 min`, `2 h 5 min`, `40 s`: the two largest units, those that are zero left out. */
export function durationText(ms: number): string {
  return formatDuration(ms)
    .replace(/\.0 s$/, ' s')
    .replace(/ 0 (s|min|h)$/, '')
}
