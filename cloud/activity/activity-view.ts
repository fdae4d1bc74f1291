/** An entry of the activity log as it is shown: by the API, and in an export. */

import { instantText } from './days.ts'
import type { ActivityEntry, Outcome } from './event.ts'

/** Times are RFC 3339, UTC; null is what it does not say. */
export interface ActivityView {
  readonly eventId: string
  readonly userId: string
  readonly activityType: string
  readonly timestamp: string
  readonly outcome: Outcome | null
  readonly objectType: string | null
  readonly objectId: string | null
  readonly siteId: number | null
  readonly correlationId: string | null
  readonly recordedBy: string | null
  readonly source: string | null
  readonly version: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly sealed: boolean
  readonly storedAt: string
  readonly day: string
  readonly place: number
  readonly hash: string
}

export function activityView(entry: ActivityEntry): ActivityView {
  const { eventId, userId, activityType, outcome, objectType, objectId, siteId, correlationId, recordedBy } = entry
  const { source, version, metadata, sealed, day, place, hash } = entry
  return {
    ...{ eventId, userId, activityType, timestamp: new Date(entry.atMs).toISOString() },
    ...{ outcome, objectType, objectId, siteId, correlationId, recordedBy, source, version, metadata, sealed },
    ...{ storedAt: instantText(entry.storedAtMs), day, place, hash },
  }
}
