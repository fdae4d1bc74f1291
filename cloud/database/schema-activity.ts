/** The tables of the activity log; see schema.ts for what they have in common. */

import type { ColumnType } from 'kysely'

type Immutable<T> = ColumnType<T, T, never>

/** Who did what. Nothing of an entry ever changes. */
export interface ActivityLogsTable {
  event_id: Immutable<string>
  user_id: Immutable<string>
  activity_type: Immutable<string>
  /** When it was done. */
  at_ms: Immutable<number>
  stored_at_ms: Immutable<number>
  /** The day, UTC, on which it was stored, such as 2026-01-31: that of its chain. */
  day: Immutable<string>
  /** Its place in the chain of that day, from 1. */
  place: Immutable<number>
  /** Of the entry before and of this one, 64 hexadecimal digits. */
  hash: Immutable<string>
  version: Immutable<string>
  /** Header `source` of its record. */
  source: Immutable<string | null>
  recorded_by: Immutable<string | null>
  outcome: Immutable<string | null>
  object_type: Immutable<string | null>
  object_id: Immutable<string | null>
  site_id: Immutable<number | null>
  correlation_id: Immutable<string | null>
  /** JSON object, without what is sensitive. */
  metadata: Immutable<string>
  /** What is sensitive of the metadata, encrypted; null for nothing. */
  sealed: Immutable<string | null>
}

/** The chains of hashes, one a day. */
export interface ActivityDaysTable {
  day: Immutable<string>
  /** Of the key that its hashes are made with; once it is purged, of the one that `mac` is made with. */
  key_id: string
  /** The last hash of the day before that has entries; what the first one of the day follows. */
  previous_hash: Immutable<string>
  entries: number
  /** Of the last entry. */
  head_hash: string
  /** When its entries were removed because of their age; null while they are there. */
  purged_at_ms: number | null
  /** Of all the others, made with the key: the state of the chain is as somebody with the key left it. */
  mac: string
}

/** Counts of a user's activities of one type in a stretch of time. */
export interface ActivityWindowsTable {
  user_id: Immutable<string>
  activity_type: Immutable<string>
  window_start_ms: Immutable<number>
  window_end_ms: Immutable<number>
  succeeded: number
  failed: number
  refused: number
  /** When it was over and last changed: while much comes late, what is changing still is not published again and again. */
  settled_at_ms: number
  /** Null when it has changed since, or was never published. */
  published_at_ms: number | null
}

/** Addresses that users have logged in from, as keyed hashes. */
export interface ActivityAddressesTable {
  user_id: Immutable<string>
  address_hash: Immutable<string>
  first_seen_ms: Immutable<number>
  last_seen_ms: number
}

/** On how many days a user has logged in within each hour of the day. */
export interface ActivityHoursTable {
  user_id: Immutable<string>
  /** 0 to 23, or -1 for any: the days on which they have logged in at all. */
  hour: Immutable<number>
  days: number
  /** The last of them, so that a day counts once. */
  last_day: string
}

/** When a suspicious pattern of a user was last told of, so that one that goes on is not told of with every activity. */
export interface ActivitySuspicionsTable {
  user_id: Immutable<string>
  pattern: Immutable<string>
  /** When the activity that completed it was done. */
  told_at_ms: number
}

export interface ActivityTables {
  activity_logs: ActivityLogsTable
  activity_days: ActivityDaysTable
  activity_windows: ActivityWindowsTable
  activity_addresses: ActivityAddressesTable
  activity_hours: ActivityHoursTable
  activity_suspicions: ActivitySuspicionsTable
}
