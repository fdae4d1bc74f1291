/** The tables of commands, of tasks over many devices, and of what is to be published; see schema.ts for what they have in common. */

import type { ColumnType, Generated } from 'kysely'

type Immutable<T> = ColumnType<T, T, never>

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

export interface CommandTables {
  gateway_leases: GatewayLeasesTable
  device_commands: DeviceCommandsTable
  commands: CommandsTable
  tasks: TasksTable
  task_devices: TaskDevicesTable
  outbox: OutboxTable
}
