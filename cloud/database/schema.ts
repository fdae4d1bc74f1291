/**
 * The tables, one interface each. Times are Unix milliseconds (`…_ms`), booleans are 0 or 1, JSON is text: the one
 * common ground of SQLite and PostgreSQL. Integers stay below 2^53 and come back as numbers on both.
 */

import type { ColumnType, Generated } from 'kysely'
import type { AnalyticsTables } from './schema-analytics.ts'
import type { ChatTables } from './schema-chat.ts'
import type { IdentityTables } from './schema-identity.ts'

export * from './schema-analytics.ts'
export * from './schema-chat.ts'
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

/** Which core a gateway's uplink session is on. */
export interface GatewayLeasesTable {
  gateway_id: Immutable<string>
  core_id: string
  session_id: string
  until_ms: number
}

/** A command on its way to one device, whoever issued it; see cloud/gateways/command-state.ts. */
export interface DeviceCommandsTable {
  command_id: Immutable<string>
  /** 'command' or 'task': who is told what becomes of it. */
  owner: Immutable<string>
  task_id: Immutable<string | null>
  device_id: Immutable<number>
  site_id: Immutable<number>
  serial_number: Immutable<string>
  name: Immutable<string>
  /** JSON text. */
  params: Immutable<string>
  state: string
  issued_at_ms: Immutable<number>
  expires_at_ms: Immutable<number>
  timeout_ms: Immutable<number>
  /** When it is given up in the state that it is in. */
  deadline_at_ms: number
  /**
   * The gateway that it is to go to. While it is QUEUED that is where its device is; from then on it stays, since another
   * gateway would hand it to the device a second time.
   */
  gateway_id: string | null
  /** The uplink session that it was last handed to; null again when the gateway refused it. */
  session_id: string | null
  /** When it was last handed over. */
  sent_at_ms: number | null
  /** When the gateway's receipt came. */
  stored_at_ms: number | null
  delivered_at_ms: number | null
  /** Set while it is with the gateway and not wanted any more. */
  cancel_requested_at_ms: number | null
  /** The uplink session that was last told so, and when. */
  cancel_session_id: string | null
  cancel_sent_at_ms: number | null
  finished_at_ms: number | null
  /** When an answer came after the end; only the first one counts. */
  late_at_ms: number | null
  updated_at_ms: number
}

/** Single commands. */
export interface CommandsTable {
  id: Immutable<string>
  /** Serial number, as it was asked for. */
  device_id: Immutable<string>
  site_id: Immutable<number | null>
  /** Null when no such device is registered: then only consumers of command.events learn of the command. */
  registered_device_id: Immutable<number | null>
  name: Immutable<string>
  /** JSON text, or null. */
  payload: Immutable<string | null>
  /** 'pending' until it is on command.events, then 'sent'. */
  status: string
  created_at_ms: Immutable<number>
  expires_at_ms: Immutable<number>
  sent_at_ms: number | null
  /** State of its way to the device; null when it has none. */
  delivery_state: string | null
  delivery_reason: string | null
  delivered_at_ms: number | null
  finished_at_ms: number | null
  /** JSON text of the device's answer. */
  response: string | null
  /** An answer that came after the end. */
  late_state: string | null
  late_response: string | null
  late_at_ms: number | null
  updated_at_ms: number
}

/** Tasks over many devices; see cloud/orchestration/task-state.ts. */
export interface TasksTable {
  id: Immutable<string>
  command_type: Immutable<string>
  /** JSON text. */
  command_params: Immutable<string>
  requested_by: Immutable<string>
  /** 'api', or 'topic' when somebody else produced its task.requested. */
  source: Immutable<string>
  /** JSON text. */
  options: Immutable<string>
  state: string
  reason: string | null
  /** 1, and one more with each retry of what failed. */
  round: number
  /** The last round that was expanded from task.requested. */
  executed_round: Generated<number>
  device_count: Immutable<number>
  created_at_ms: Immutable<number>
  start_at_ms: number
  expires_at_ms: number
  started_at_ms: number | null
  finished_at_ms: number | null
  /** The core that runs it, by lease. */
  runner: string | null
  runner_until_ms: number | null
  updated_at_ms: number
}

/** One device of a task. */
export interface TaskDevicesTable {
  task_id: Immutable<string>
  /** Its place in the request, from 0. */
  position: Immutable<number>
  serial_number: Immutable<string>
  site_id: number | null
  device_id: number | null
  state: string
  /** What became of its last command; `state` follows when the orchestrator has taken the response in. */
  outcome: string | null
  /** Commands issued for it in this round. */
  attempt: number
  /** Of the last attempt. */
  command_id: string | null
  /** When the next attempt may begin. */
  ready_at_ms: number
  reason: string | null
  /** JSON text of the device's answer. */
  response: string | null
  finished_at_ms: number | null
  late_state: string | null
  late_response: string | null
  late_at_ms: number | null
  updated_at_ms: number
}

/** What is to be published, stored in the transaction of what it tells. */
export interface OutboxTable {
  id: Generated<number>
  topic: Immutable<string>
  key: Immutable<string | null>
  value: Immutable<string>
  /** JSON object, or null. */
  headers: Immutable<string | null>
  /** Who is told, in a transaction, that it was published. */
  owner: Immutable<string | null>
  owner_id: Immutable<string | null>
  created_at_ms: Immutable<number>
  /** Not published before. */
  available_at_ms: number
  lease_by: string | null
  lease_until_ms: number | null
  sent_at_ms: number | null
  /** Tries that the record itself made fail; an outage counts none. */
  failures: Generated<number>
  error: string | null
}

export interface Database extends AnalyticsTables, IdentityTables, ChatTables {
  schema_migrations: SchemaMigrationsTable
  sites: SitesTable
  gateways: GatewaysTable
  devices: DevicesTable
  gateway_cursors: GatewayCursorsTable
  gateway_gaps: GatewayGapsTable
  latest_values: LatestValuesTable
  idempotency_keys: IdempotencyKeysTable
  gateway_leases: GatewayLeasesTable
  device_commands: DeviceCommandsTable
  commands: CommandsTable
  tasks: TasksTable
  task_devices: TaskDevicesTable
  outbox: OutboxTable
}

export type Dialect = 'sqlite' | 'postgres'
