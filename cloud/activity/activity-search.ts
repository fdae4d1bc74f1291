/** Entries of the activity log by what they say, the newest first. */

import type { Outcome } from './event.ts'

/** Every criterion given has to be met. */
export interface ActivityFilter {
  readonly userId?: string | undefined
  /** One of these. */
  readonly activityTypes?: readonly string[] | undefined
  /** Done at that time or later, Unix milliseconds. */
  readonly fromMs?: number | undefined
  /** Done before that time. */
  readonly toMs?: number | undefined
  readonly objectType?: string | undefined
  readonly objectId?: string | undefined
  readonly siteId?: number | undefined
  readonly outcome?: Outcome | undefined
  readonly correlationId?: string | undefined
  /** Anywhere in the metadata that is not sealed, capital ASCII letters or small. */
  readonly text?: string | undefined
}
