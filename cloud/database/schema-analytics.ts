/** The tables of analytics, statuses, alerts, notifications, set-aside records and dead letters; see schema.ts. */

import type { ColumnType, Generated } from 'kysely'

/** Written once. */
type Immutable<T> = ColumnType<T, T, never>

/** One row a reading. On PostgreSQL partitioned by at_ms. */
export interface ReadingsTable {
  device_id: Immutable<number>
  /** Event time. */
  at_ms: Immutable<number>
  /** Of the gateway's spool; below zero for a record without one. The same reading has the same key whenever it comes. */
  seq: Immutable<number>
  /** JSON object, as the device sent it. */
  fields: Immutable<string>
}

/** What the readings of a bucket come to. On PostgreSQL partitioned by bucket_ms. */
export interface RollupsTable {
  device_id: Immutable<number>
  /** Begin of the bucket. */
  bucket_ms: Immutable<number>
  /** Readings in it. */
  records: number
  /** JSON object; see cloud/telemetry/rollup.ts. */
  fields: string
}

/** Which stretches of time the tables by time have rows of. */
export interface TimePartitionsTable {
  table_name: Immutable<string>
  from_ms: Immutable<number>
  to_ms: Immutable<number>
  /** When rows were last added; not exact to the minute. */
  written_at_ms: number
}

/** What was stored as readings and is not in the roll-ups yet. */
export interface RollupDeltasTable {
  id: Generated<number>
  created_at_ms: Immutable<number>
  /** How many readings it is the sum of. */
  readings: Immutable<number>
  /** Buckets and fields in it: what rolling it up costs. */
  entries: Immutable<number>
  /** JSON; see cloud/telemetry/rollup-delta.ts. */
  body: Immutable<string>
}

export interface StatusHistoryTable {
  device_id: Immutable<number>
  at_ms: Immutable<number>
  seq: Immutable<number>
  previous_status: Immutable<string | null>
  status: Immutable<string>
  reason: Immutable<string | null>
  gateway_id: Immutable<string | null>
  backfill: Immutable<number>
}

/** A gateway was offline for longer than it may be without notice. */
export interface GatewayOutagesTable {
  gateway_id: Immutable<string>
  since_ms: Immutable<number>
  noticed_at_ms: Immutable<number>
  ended_at_ms: number | null
}

export interface AlertRulesTable {
  id: Immutable<string>
  name: string
  enabled: number
  severity: string
  site_id: number | null
  device_type: string | null
  device_id: number | null
  condition: string
  recipients: string
  version: number
  created_at_ms: Immutable<number>
  updated_at_ms: number
  deleted_at_ms: number | null
}

export interface AlertStatesTable {
  rule_id: Immutable<string>
  device_id: Immutable<number>
  track: Immutable<string>
  state: string
  /** When it came into this state, event time. */
  since_ms: number
  /** Event time of the reading that was judged last when this was written. */
  at_ms: number
  alert_id: string | null
  rule_version: number
}

export interface AlertsTable {
  id: Immutable<string>
  rule_id: Immutable<string>
  rule_name: Immutable<string>
  severity: Immutable<string>
  site_id: Immutable<number>
  device_id: Immutable<number>
  serial_number: Immutable<string>
  state: string
  past: Immutable<number>
  /** Event time of the first reading that met the condition; `opened_at_ms` is that of the one that had met it for long enough. */
  since_ms: Immutable<number>
  opened_at_ms: Immutable<number>
  closed_at_ms: number | null
  close_reason: string | null
  acknowledged_at_ms: number | null
  acknowledged_by: string | null
  acknowledged_note: string | null
  /** When it is to be escalated; null when it is not, or was. */
  escalate_at_ms: number | null
  escalated_at_ms: number | null
  value_opened: Immutable<number>
  value_worst: number
  value_closed: number | null
  created_at_ms: Immutable<number>
  updated_at_ms: number
  rule: Immutable<string>
}

export interface NotificationsTable {
  id: Immutable<string>
  user_id: Immutable<string>
  type: Immutable<string>
  severity: Immutable<string>
  title: Immutable<string>
  content: Immutable<string>
  related_entity_id: Immutable<string | null>
  site_id: Immutable<number | null>
  quiet: Immutable<number>
  read_at_ms: number | null
  /** When it happened. */
  at_ms: Immutable<number>
  created_at_ms: Immutable<number>
}

export interface NotificationPreferencesTable {
  user_id: Immutable<string>
  preferences: string
  created_at_ms: Immutable<number>
  updated_at_ms: number
}

/** Notices of one kind that come at once: some are told one by one, the others are held and told together. */
export interface NotificationBurstsTable {
  burst_key: Immutable<string>
  started_at_ms: number
  ends_at_ms: number
  told: number
  /** JSON; its form belongs to cloud/notifications. */
  held: string
}

/** What more subscribers are to be told than one transaction should hold, and how far that has come. */
export interface NotificationFanOutsTable {
  id: Immutable<string>
  /** JSON; its form belongs to cloud/notifications. */
  telling: Immutable<string>
  /** Everybody up to this one was told. */
  after_user_id: string
  created_at_ms: Immutable<number>
}

/** Notices that were part of a burst, by a digest of their key. */
export interface NotificationBurstNoticesTable {
  notice_key: Immutable<string>
  created_at_ms: Immutable<number>
}

/** When the read state of a user's notifications changed last. */
export interface NotificationReadsTable {
  user_id: Immutable<string>
  changed_at_ms: number
}

/** A key whose records a consumer has set aside, or one record alone that has none; it has a row as long as it has records. */
export interface ParkedLanesTable {
  id: Generated<number>
  consumer_group: Immutable<string>
  topic: Immutable<string>
  lane: Immutable<string>
  parked_at_ms: Immutable<number>
  /** Of its first record; the others only wait behind it. */
  tries: number
  error_code: string | null
  error: string | null
  due_at_ms: number
  lease_by: string | null
  lease_until_ms: number | null
}

/** Records that a consumer could not handle yet, and those of the same key behind them, in the order of their ids. */
export interface ParkedRecordsTable {
  id: Generated<number>
  lane_id: Immutable<number>
  partition: Immutable<number>
  record_offset: Immutable<number>
  timestamp_ms: Immutable<number>
  /** JSON, since a key may hold a NUL. */
  key: Immutable<string | null>
  headers: Immutable<string>
  value: Immutable<Buffer>
}

/** What is on the dead-letter topics, so that it can be listed, shown and replayed. */
export interface DeadLettersTable {
  /** topic.partition.offset */
  id: Immutable<string>
  topic: Immutable<string>
  partition: Immutable<number>
  record_offset: Immutable<number>
  original_topic: Immutable<string>
  /** To be looked for; the envelope has it to the letter. */
  key: Immutable<string | null>
  /** Who gave it up: a consumer group, or `ingest`. */
  source: Immutable<string | null>
  code: Immutable<string>
  message: Immutable<string>
  retry_count: Immutable<number>
  failed_at_ms: Immutable<number>
  created_at_ms: Immutable<number>
  /** From 1; of a value that is spread over several dead letters only the first is listed. */
  part: Immutable<number>
  parts: Immutable<number>
  /** What the parts of one value have in common; null for one that is whole. */
  set_id: Immutable<string | null>
  replayed_at_ms: number | null
  replays: number
  /** Which replay has it in hand, and until when that one counts. */
  claim: string | null
  claimed_until_ms: number | null
  value_bytes: Immutable<number>
  /** When the bus took it in, as the bus says. A topic that was made anew counts offsets from 0 again, not the time. */
  timestamp_ms: Immutable<number>
  /** JSON: its key and headers. */
  envelope: Immutable<string>
  /** The dead letter as it is on its topic; null for one that is too large to be kept. */
  value: Immutable<Buffer | null>
}

/** Work that one core does for all; see duty.ts. */
export interface DutiesTable {
  name: Immutable<string>
  holder: string
  until_ms: number
}

export interface AnalyticsTables {
  readings: ReadingsTable
  rollups_1m: RollupsTable
  rollups_15m: RollupsTable
  rollups_1h: RollupsTable
  rollups_1d: RollupsTable
  time_partitions: TimePartitionsTable
  rollup_deltas: RollupDeltasTable
  status_history: StatusHistoryTable
  gateway_outages: GatewayOutagesTable
  alert_rules: AlertRulesTable
  alert_states: AlertStatesTable
  alerts: AlertsTable
  notifications: NotificationsTable
  notification_preferences: NotificationPreferencesTable
  notification_bursts: NotificationBurstsTable
  notification_burst_notices: NotificationBurstNoticesTable
  notification_fan_outs: NotificationFanOutsTable
  notification_reads: NotificationReadsTable
  parked_lanes: ParkedLanesTable
  parked_records: ParkedRecordsTable
  dead_letters: DeadLettersTable
  duties: DutiesTable
}
