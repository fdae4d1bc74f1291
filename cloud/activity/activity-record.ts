/** What is put onto `user-activity-logs`, by whoever publishes it. Pure but for the ids. */

import { createHash } from 'node:crypto'
import { type Random, randomHex } from '../../shared/random.ts'
import { USER_ACTIVITY_LOGS } from '../bus/catalogue.ts'
import { ACTIVITY_VERSION, ANONYMOUS, type NewActivity, type UserActivity } from './event.ts'

export interface ActivityRecord {
  readonly topic: typeof USER_ACTIVITY_LOGS
  readonly key: string
  /** JSON text. */
  readonly value: string
  readonly headers: { readonly source: string; readonly timestamp: string }
}

/** Its key is the user, so that what a user does stays in order. */
export function activityRecord(event: UserActivity, source: string): ActivityRecord {
  const { userId, activityType, timestamp, metadata, eventId, version, ...others } = event
  return {
    topic: USER_ACTIVITY_LOGS,
    key: userId,
    // The members stand in the contract's order; what is absent is left out.
    value: JSON.stringify({ userId, activityType, timestamp, metadata, eventId, version, ...others }),
    headers: { source, timestamp },
  }
}

export function newEventId(random: Random): string {
  return `evt_${randomHex(random, 12)}`
}

/** One that is the same whenever it is made of the same. */
export function derivedEventId(prefix: string, ...of: readonly (string | number | null)[]): string {
  return `${prefix}_${createHash('sha256').update(JSON.stringify(of)).digest('hex').slice(0, 24)}`
}

/** @param given its time, and the id of one that has none of its own. */
export function eventOf(
  activity: NewActivity,
  given: { readonly eventId: string; readonly nowMs: number },
): UserActivity {
  const { outcome, objectType, objectId, siteId, correlationId } = activity
  return {
    userId: activity.userId,
    activityType: activity.activityType,
    timestamp: new Date(given.nowMs).toISOString(),
    metadata: { ...activity.metadata },
    eventId: activity.eventId ?? given.eventId,
    version: ACTIVITY_VERSION,
    ...(outcome === undefined ? {} : { outcome }),
    ...(objectType === undefined ? {} : { objectType }),
    ...(objectId === undefined ? {} : { objectId }),
    ...(siteId === undefined ? {} : { siteId }),
    ...(correlationId === undefined ? {} : { correlationId }),
  }
}

const TEXT_CHARS_MAX = 128

/** The same so that it passes the check of the processor, whatever somebody called themselves. */
export function soundActivity(activity: NewActivity, metadataBytesMax: number): NewActivity {
  const { userId, objectType, objectId, correlationId, metadata = {} } = activity
  return {
    ...activity,
    userId: soundText(userId) ?? ANONYMOUS,
    objectType: soundText(objectType),
    objectId: soundText(objectId),
    correlationId: soundText(correlationId),
    metadata: soundMetadata(metadata, metadataBytesMax),
  }
}

/** Without what would not stay on one line; undefined for none. */
function soundText(text: string | undefined): string | undefined {
  const plain = text?.toWellFormed().replaceAll(/[\p{Cc}\u2028\u2029]/gu, '\ufffd')
  return plain === undefined || plain === '' ? undefined : cut(plain, TEXT_CHARS_MAX)
}

/** As many members, from the first, as there is room for; `truncated` says that there were more. */
function soundMetadata(metadata: NonNullable<NewActivity['metadata']>, bytesMax: number): Record<string, unknown> {
  if (jsonBytes(metadata) <= bytesMax) return metadata
  const kept: Record<string, unknown> = { truncated: true }
  let bytes = jsonBytes(kept)
  for (const [name, value] of Object.entries(metadata)) {
    const more = jsonBytes({ [name]: value })
    if (bytes + more > bytesMax) continue
    kept[name] = value
    bytes += more
  }
  return kept
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}

/** Never between the two halves of one character. */
function cut(text: string, charsMax: number): string {
  return text.slice(0, charsMax).replace(/[\ud800-\udbff]$/, '')
}
