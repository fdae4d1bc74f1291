/**
 * The tables, one interface each. Times are Unix milliseconds (`…_ms`), booleans are 0 or 1, JSON is text: the one
 * common ground of SQLite and PostgreSQL. Integers stay below 2^53 and come back as numbers on both.
 */

import type { ColumnType, Generated } from 'kysely'
import type { ActivityTables } from './schema-activity.ts'
import type { AnalyticsTables } from './schema-analytics.ts'
import type { ChatTables } from './schema-chat.ts'
import type { CommandTables } from './schema-commands.ts'
import type { IdentityTables } from './schema-identity.ts'

export * from './schema-activity.ts'
export * from './schema-analytics.ts'
export * from './schema-chat.ts'
export * from './schema-commands.ts'
export * from './schema-identity.ts'

/** Written once. */
type Immutable<T> = ColumnType<T, T, never>

export interface SchemaMigrationsTable {
  number: Immutable<number>
  name: Immutable<string>
  applied_at_ms: Immutable<number>
}

export interface SitesTable {
  /** The siteId of the MQTT topics; never drawn by the database. */
  id: Immutable<number>
  name: string
  created_at_ms: Immutable<number>
  updated_at_ms: number
}

export interface GatewaysTable {
  id: Immutable<string>
  name: string | null
  /** From the last Hello; null until the gateway has connected once. */
  software_version: string | null
  boot_id: string | null
  epoch: string | null
  connected: number
  /** The uplink session that set `connected`, so that a late farewell of an older one changes nothing. */
  session_id: string | null
  connected_at_ms: number | null
  last_seen_at_ms: number | null
  backlog_records: number | null
  backlog_bytes: number | null
  /** Wall clock of the oldest record that the gateway still holds; null when it holds none. */
  backlog_oldest_ms: number | null
  /** Gateway's wall clock less ours at the last Hello. */
  clock_offset_ms: number | null
  created_at_ms: Immutable<number>
  updated_at_ms: number
}

export interface DevicesTable {
  id: Generated<number>
  site_id: Immutable<number>
  serial_number: Immutable<string>
  device_type: string
  name: string | null
  /** The gateway that sent for it last. */
  gateway_id: string | null
  status: string | null
  status_at_ms: number | null
  status_reason: string | null
  /** How long nothing may be heard of it before it counts as OFFLINE; null for the default, 0 for ever. */
  silent_after_ms: number | null
  /** While it is OFFLINE because nothing was heard of it: when it was last heard. */
  silent_since_ms: number | null
  /** When it last said its status again without a change, our clock; written once a minute at most. */
  status_repeated_at_ms: number | null
  created_at_ms: Immutable<number>
  updated_at_ms: number
}

/** What the cloud has of a lane of a gateway's spool. */
export interface GatewayCursorsTable {
  gateway_id: Immutable<string>
  epoch: Immutable<string>
  lane: Immutable<string>
  /** JSON array of [first, last] pairs or objects, ascending and disjoint; its form belongs to the ingest. */
  received: string
  updated_at_ms: number
}

/** Records that a gateway gave up. */
export interface GatewayGapsTable {
  gateway_id: Immutable<string>
  epoch: Immutable<string>
  lane: Immutable<string>
  first_sequence: Immutable<number>
  record_count: Immutable<number>
  reason: Immutable<string>
  /** When the gateway gave them up, its clock. */
  at_ms: Immutable<number>
  recorded_at_ms: Immutable<number>
  /** When the first and the last of them were received, the gateway's clock; null of a gateway that does not tell. */
  from_ms: Immutable<number | null>
  to_ms: Immutable<number | null>
}

export interface LatestValuesTable {
  /** No foreign key: a bus that remembers more than a restored database must not stop the consumer. */
  device_id: Immutable<number>
  site_id: number
  serial_number: string
  /** JSON object: field name → [value, event time]. */
  telemetry: string
  /** Latest event time of any field. */
  event_at_ms: number
  /** When the edge received that reading. */
  received_at_ms: number
  /** When anything was last heard of the device, our clock; null before the first record that tells. */
  heard_at_ms: number | null
}

/** Answers of requests that carried an idempotency key. */
export interface IdempotencyKeysTable {
  key: Immutable<string>
  route: Immutable<string>
  request_hash: Immutable<string>
  /** HTTP status; null while the first request is still being worked on. */
  status: number | null
  response: string | null
  created_at_ms: Immutable<number>
}

export interface Database extends AnalyticsTables, IdentityTables, ChatTables, CommandTables, ActivityTables {
  schema_migrations: SchemaMigrationsTable
  sites: SitesTable
  gateways: GatewaysTable
  devices: DevicesTable
  gateway_cursors: GatewayCursorsTable
  gateway_gaps: GatewayGapsTable
  latest_values: LatestValuesTable
  idempotency_keys: IdempotencyKeysTable
}

export type Dialect = 'sqlite' | 'postgres'
