/** Entries as rows of the table, and back. */

import type { Selectable } from 'kysely'
import { messageOf } from '../../shared/errors.ts'
import { isObject } from '../../shared/json-object.ts'
import { readJson } from '../bus/json-value.ts'
import type { ActivityLogsTable } from '../database/schema.ts'
import { storableText } from '../database/stored-text.ts'
import type { ActivitySeal } from './activity-seal.ts'
import type { ActivityEntry, CheckedActivity, Outcome } from './event.ts'

export type ActivityRow = Selectable<ActivityLogsTable>
/** A row before it has its place in the chain. */
export type UnplacedRow = Omit<ActivityRow, 'day' | 'place' | 'hash'>

type Metadata = Readonly<Record<string, unknown>>

/** The columns, as `givenRows` wants them. */
export const ACTIVITY_COLUMNS = {
  event_id: 'text',
  user_id: 'text',
  activity_type: 'text',
  at_ms: 'bigint',
  stored_at_ms: 'bigint',
  day: 'text',
  place: 'bigint',
  hash: 'text',
  version: 'text',
  source: 'text',
  recorded_by: 'text',
  outcome: 'text',
  object_type: 'text',
  object_id: 'text',
  site_id: 'bigint',
  correlation_id: 'text',
  metadata: 'text',
  sealed: 'text',
} as const satisfies Readonly<Record<keyof ActivityRow, string>>

/** What anybody may see of metadata, and what is sensitive of it; null for nothing. */
export function splitMetadata(
  metadata: Metadata,
  sensitive: ReadonlySet<string>,
): { readonly plain: Metadata; readonly sensitive: Metadata | null } {
  const members = Object.entries(metadata)
  if (!members.some(([name]) => sensitive.has(name))) return { plain: metadata, sensitive: null }
  return {
    plain: Object.fromEntries(members.filter(([name]) => !sensitive.has(name))),
    sensitive: Object.fromEntries(members.filter(([name]) => sensitive.has(name))),
  }
}

/** @param sealed what is sensitive of its metadata, which `plain` is then without. */
export function rowOf(
  activity: CheckedActivity,
  plain: Metadata,
  sealed: string | null,
  storedAtMs: number,
): UnplacedRow {
  return {
    event_id: activity.eventId,
    user_id: storableText(activity.userId),
    activity_type: activity.activityType,
    at_ms: activity.atMs,
    stored_at_ms: storedAtMs,
    version: activity.version,
    source: orNull(activity.source),
    recorded_by: orNull(activity.recordedBy),
    outcome: activity.outcome,
    object_type: orNull(activity.objectType),
    object_id: orNull(activity.objectId),
    site_id: activity.siteId,
    correlation_id: orNull(activity.correlationId),
    metadata: JSON.stringify(plain),
    sealed,
  }
}

/**
 * @param seal opens what is sensitive, for who may see it; without it that is left out.
 * @param onFailure told of what cannot be opened, which is left out then.
 */
export function entryOf(row: ActivityRow, seal?: ActivitySeal, onFailure?: (reason: string) => void): ActivityEntry {
  const metadata = metadataOf(row.metadata)
  const opened = seal === undefined || row.sealed === null ? null : tryOpen(seal, row.event_id, row.sealed, onFailure)
  return {
    eventId: row.event_id,
    userId: row.user_id,
    activityType: row.activity_type,
    atMs: row.at_ms,
    version: row.version,
    metadata: opened === null ? metadata : Object.fromEntries([metadata, opened].flatMap(Object.entries)),
    outcome: row.outcome as Outcome | null,
    objectType: row.object_type,
    objectId: row.object_id,
    siteId: row.site_id,
    correlationId: row.correlation_id,
    recordedBy: row.recorded_by,
    source: row.source,
    storedAtMs: row.stored_at_ms,
    day: row.day,
    place: row.place,
    hash: row.hash,
    sealed: row.sealed !== null && opened === null,
  }
}

/** What somebody has changed in the database is shown as it is: it must not keep auditors from what stands around it. */
function metadataOf(stored: string): Metadata {
  const read = readJson(Buffer.from(stored))
  return isObject(read) ? read : { unreadable: String(stored) }
}

/** Null for what cannot be opened. */
export function tryOpen(
  seal: ActivitySeal,
  eventId: string,
  sealed: string,
  onFailure?: (reason: string) => void,
): Metadata | null {
  try {
    return seal.open(eventId, sealed)
  } catch (error) {
    onFailure?.(messageOf(error))
    return null
  }
}

/** What is hashed must be what is stored. */
function orNull(text: string | null): string | null {
  return text === null ? null : storableText(text)
}
