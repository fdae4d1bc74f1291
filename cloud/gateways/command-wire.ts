/** Commands as they go down the uplink, in messages of a size that a gateway takes. */

import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { NewDeviceCommand } from './device-command.ts'
import type { CommandRow } from './device-command-rows.ts'

export interface OutgoingCommand {
  readonly row: CommandRow
  readonly order: Pick<NewDeviceCommand, 'name' | 'params' | 'issuedAtMs'>
}

/** One message. A larger one holds a single command. */
const BATCH_COMMANDS_MAX = 500
const BATCH_BYTES_MAX = 256 * 1024
/** Ids, times and framing of one command, about. */
const COMMAND_OVERHEAD_BYTES = 200
/** Long ago on every clock. */
const EXPIRED_AT_MS = 1

/** In their order. */
export function commandBatches(commands: readonly OutgoingCommand[]): Command[][] {
  const batches: Command[][] = []
  let batch: Command[] = []
  let bytes = 0
  for (const command of commands) {
    const size = Buffer.byteLength(command.order.params) + COMMAND_OVERHEAD_BYTES
    if (batch.length > 0 && (batch.length === BATCH_COMMANDS_MAX || bytes + size > BATCH_BYTES_MAX)) {
      batches.push(batch)
      batch = []
      bytes = 0
    }
    batch.push(toWire(command))
    bytes += size
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

function toWire({ row, order }: OutgoingCommand): Command {
  return {
    commandId: row.command_id,
    taskId: row.task_id ?? '',
    siteId: row.site_id,
    serialNumber: row.serial_number,
    name: order.name,
    paramsJson: order.params,
    issuedAtMs: order.issuedAtMs,
    // One that was asked back while nobody knew whether its gateway has it: if it has, it goes by what it got then and
    // tells how that ends; if it has not, it must not hand it to the device now.
    expiresAtMs: row.cancel_requested_at_ms === null ? row.expires_at_ms : EXPIRED_AT_MS,
    timeoutMs: row.timeout_ms,
  }
}
