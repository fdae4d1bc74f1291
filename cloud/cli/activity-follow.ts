/** `busbar-cloud activity follow`: entries as they are stored, until it is interrupted. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { ActivityView } from '../activity/activity-view.ts'
import { ACTIVITIES_PATH } from './activity-filter.ts'
import { writeLine } from './activity-report.ts'
import type { ApiClient, Query } from './api-client.ts'

/** Between two looks. */
const LOOK_MS = 2_000
/** How far each look goes back: an entry may be stored that much later than it was done. */
const BACK_MS = 120_000
/** Entries of one look at most; of more the oldest are left out. */
const ENTRIES_MAX = 2_000

export interface FollowOptions {
  readonly api: Pick<ApiClient, 'list'>
  /** Without times. */
  readonly filter: Query
  /** An object a line. */
  readonly json: boolean
  readonly terminal: Terminal
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Begins with now. What was done longer ago than two minutes when it is stored is not shown. */
export async function followActivities(options: FollowOptions): Promise<number> {
  const { api, filter, json, terminal, clock, signal } = options
  const beganMs = clock.wallMs()
  let seen = new Set<string>()
  let isAway = false
  while (!signal.aborted) {
    const from = new Date(Math.max(beganMs, clock.wallMs() - BACK_MS)).toISOString()
    try {
      const { items, nextCursor } = await api.list<ActivityView>(ACTIVITIES_PATH, { ...filter, from }, ENTRIES_MAX)
      const fresh = items.filter(({ eventId }) => !seen.has(eventId))
      // Only what a look may find again is remembered.
      seen = new Set(items.map(({ eventId }) => eventId))
      for (const entry of fresh.toReversed()) {
        if (json) terminal.out(`${JSON.stringify(entry)}\n`)
        else writeLine(entry, terminal)
      }
      if (nextCursor !== null && fresh.length === items.length && fresh.length > 0) {
        terminal.err('more came than is shown: `busbar-cloud activity list` has them\n')
      }
      isAway = false
    } catch (error) {
      if (!(error instanceof BusbarError && error.retryable)) throw error
      if (!isAway) terminal.err(`${terminal.paint.caution('waiting:')} ${error.message}\n`)
      isAway = true
    }
    await sleep(clock, LOOK_MS, signal)
  }
  return EXIT_OK
}
