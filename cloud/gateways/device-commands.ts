/** Commands on their way to devices: stored, handed to the gateways that hold the devices, followed to their end. */

import type { Transaction } from 'kysely'
import type { Database } from '../database/schema.ts'
import type { ChangeListener, CommandOwner, CommandReport, NewDeviceCommand } from './device-command.ts'

export class DeviceCommands {
  /** One listener an owner, registered before the start. */
  onChanged(_owner: CommandOwner, _listener: ChangeListener): void {
    throw new Error('not built')
  }

  /** Stores them as QUEUED in the caller's transaction; `nudge` once it is committed. */
  issue(_commands: readonly NewDeviceCommand[], _transaction: Transaction<Database>): Promise<void> {
    throw new Error('not built')
  }

  /**
   * In the caller's transaction: those QUEUED end as CANCELLED (listeners are told), those with a gateway are asked back from
   * it; the final ones stay. `nudge` once it is committed.
   */
  cancel(_commandIds: readonly string[], _transaction: Transaction<Database>): Promise<void> {
    throw new Error('not built')
  }

  /** What was issued or cancelled is committed: hand it over without waiting for the next look. */
  nudge(): void {
    throw new Error('not built')
  }

  /**
   * Takes reports in, in the caller's transaction; idempotent. Never rejects for what a report says: one for a command that
   * nobody knows, or of another device, is put into the outbox for orchestrator.responses-dlt.
   */
  record(_reports: readonly CommandReport[], _transaction: Transaction<Database>): Promise<void> {
    throw new Error('not built')
  }
}
