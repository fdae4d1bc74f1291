/** What a command on its way to a device is made of, and what its owner is told of it. */

import type { Transaction } from 'kysely'
import type { Database } from '../database/schema.ts'
import type { CommandState } from './command-state.ts'

/** Who issued a command: a single one, or one of a task. */
export type CommandOwner = 'command' | 'task'

export interface NewDeviceCommand {
  /** Unique for ever. */
  readonly commandId: string
  readonly owner: CommandOwner
  readonly taskId: string | null
  /** Of the registry. */
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly name: string
  /** JSON text; "null" for none. */
  readonly params: string
  /** Unix milliseconds. */
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly timeoutMs: number
}

/** A step in the life of a command, told in the transaction that stores it. */
export interface CommandChange {
  readonly commandId: string
  readonly taskId: string | null
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly from: CommandState
  /** When `late`, what a late answer says; `from` stays the state. */
  readonly to: CommandState
  /** An answer that came after the end: to be kept beside the outcome, never instead of it. */
  readonly late: boolean
  /** When it happened, as far as the cloud knows, Unix milliseconds. */
  readonly atMs: number
  /** JSON text of the device's payload; null when it sent none. */
  readonly payload: string | null
  /** Why, for people; null when the state says it all. */
  readonly reason: string | null
}

/** Must write only through `transaction`; when it rejects the step is not taken. */
export type ChangeListener = (changes: readonly CommandChange[], transaction: Transaction<Database>) => Promise<void>

/** What a gateway's record says of a command: the device's answer, or a fact of the gateway itself. */
export interface CommandReport {
  readonly commandId: string
  /** Whose record it is; only of what was on its way by this gateway it is believed. */
  readonly gatewayId: string
  /** The device on whose topic it came; only its own commands are believed. */
  readonly siteId: number
  readonly serialNumber: string
  readonly state: CommandState
  /** JSON text. */
  readonly payload: string | null
  readonly reason: string | null
  /** Gateway's wall clock, corrected, Unix milliseconds. */
  readonly receivedAtMs: number
  /** The record as it came, for the dead letter of a command that nobody knows. */
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
}
