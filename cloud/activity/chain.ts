/**
 * The chain of hashes of the activity log. Each entry's hash is made of the one before, its day and place, and all that is
 * stored of it, with a key that is not in the database: who can write there alone cannot make the chain anew. The first
 * entry of a day follows the last one of the day before that has any. Pure.
 *
 *     digest = SHA-256(columns)        each as <bytes>:<text>, numbers in decimals, null as "-"
 *     hash   = HMAC-SHA256(key, "entry" \n previous hash \n day \n place \n digest)
 *     mac    = HMAC-SHA256(key, "day" \n day \n key id \n previous hash \n entries \n head hash \n purged at or "-")
 */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { ActivityDaysTable } from '../database/schema.ts'
import type { UnplacedRow } from './activity-rows.ts'

export type DayRow = Selectable<ActivityDaysTable>
export type UnsignedDay = Omit<DayRow, 'mac'>

/** What the first entry of all follows. */
export const CHAIN_BEGIN = '0'.repeat(64)
/** In place of the mac of a day that somebody has changed: it goes on, and stays known as changed. */
export const WRONG_MAC = 'changed'

/** Of everything that is stored of an entry but its place in the chain. */
export function entryDigest(row: UnplacedRow): string {
  const columns = [
    row.event_id,
    row.user_id,
    row.activity_type,
    row.at_ms,
    row.stored_at_ms,
    row.version,
    row.source,
    row.recorded_by,
    row.outcome,
    row.object_type,
    row.object_id,
    row.site_id,
    row.correlation_id,
    row.metadata,
    row.sealed,
  ]
  let text = ''
  for (const column of columns) {
    if (column === null) {
      text += '-'
      continue
    }
    // SQLite keeps bytes in any column, and no question finds them by the text that they are of.
    if (typeof column === 'object') {
      text += '!'
      continue
    }
    const written = String(column)
    text += `${Buffer.byteLength(written)}:${written}`
  }
  return createHash('sha256').update(text).digest('hex')
}

/** The hash of the entry at `place` of `day`, from 1, after the one whose hash is `previous`. */
export function entryHash(key: Uint8Array, previous: string, day: string, place: number, digest: string): string {
  return createHmac('sha256', key).update(`entry\n${previous}\n${day}\n${place}\n${digest}`).digest('hex')
}

/** Id of the event that a day was purged: the same from every core, and nobody else's to record before. */
export function purgeEventId(key: Uint8Array, day: string): string {
  const mark = createHmac('sha256', key).update(`purge\n${day}`).digest('hex')
  return `evt_purged_${day.replaceAll('-', '')}_${mark.slice(0, 24)}`
}

/** What vouches for the state of a day. */
export function dayMac(key: Uint8Array, row: UnsignedDay): string {
  const parts = [row.day, row.key_id, row.previous_hash, row.entries, row.head_hash, row.purged_at_ms ?? '-']
  return createHmac('sha256', key)
    .update(['day', ...parts].join('\n'))
    .digest('hex')
}

/** Whether somebody with the key left the day like this. */
export function isGenuine(key: Uint8Array, row: DayRow): boolean {
  return sameHash(dayMac(key, row), row.mac)
}

function sameHash(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}
