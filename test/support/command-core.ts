/** A command service over a real database, with its outbox, its device commands and a registry. */

import { Outbox } from '../../cloud/bus/outbox.ts'
import { CommandService, type CommandServiceOptions, type CommandSettings } from '../../cloud/commands/commands.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { DeviceCommands } from '../../cloud/gateways/gateways.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

export interface CommandCore {
  readonly commands: CommandService
  readonly outbox: Outbox
  readonly deviceCommands: DeviceCommands
  readonly registry: Registry
}

export const COMMAND_SETTINGS: CommandSettings = {
  allowUnknownTypes: true,
  allowUnknownDevices: true,
  payloadBytesMax: 16 * 1024,
  expiryMs: 86_400_000,
  timeoutMs: 60_000,
  keptDays: 90,
}

/** Nothing of it is started. */
export function commandCore(
  database: DatabaseHandle,
  options: Partial<Pick<CommandServiceOptions, 'random'>> & {
    readonly clock?: Clock
    readonly settings?: Partial<CommandSettings>
    readonly registry?: Registry
  } = {},
): CommandCore {
  const common = { clock: options.clock ?? systemClock, log: silentLogger }
  const registry =
    options.registry ?? new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  const outbox = new Outbox({ database, ...common })
  const deviceCommands = new DeviceCommands({ database, outbox, ...common })
  const commands = new CommandService({
    database,
    outbox,
    deviceCommands,
    registry,
    settings: { ...COMMAND_SETTINGS, ...options.settings },
    random: options.random ?? systemRandom,
    ...common,
  })
  return { commands, outbox, deviceCommands, registry }
}
