/** Hands commands to the gateways that this core has, and ends those that nobody answers. */

import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { FinalState } from './command-state.ts'
import type { DeviceCommands } from './device-commands.ts'
import type { Gateways } from './gateways.ts'

export interface CommandDispatcherOptions {
  readonly database: DatabaseHandle
  readonly gateways: Pick<Gateways, 'listen' | 'openSessions'>
  readonly commands: DeviceCommands
  /** Commands handed to one gateway that it has not receipted; further ones wait. */
  readonly windowCommands: number
  /** How long after expiry and timeout the cloud waits for what a gateway may still have to tell, milliseconds. */
  readonly answerGraceMs: number
  /** How long finished commands are kept, milliseconds. */
  readonly keptMs: number
  /** How often is looked for what other cores issued, milliseconds. Default 250. */
  readonly pollMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface DispatchStats {
  /** Commands of all cores that wait for their gateway, as of the last count. */
  readonly waiting: number
  /** Handed over and not receipted, of all cores, as of the last count. */
  readonly unreceipted: number
  /** Not finished, of all cores, as of the last count. */
  readonly open: number
  /** Commands that this core saw end since its start, by state. */
  readonly finished: Readonly<Record<FinalState, number>>
}

export class CommandDispatcher implements Part {
  readonly name = 'command dispatcher'

  private readonly options: CommandDispatcherOptions

  constructor(options: CommandDispatcherOptions) {
    this.options = options
  }

  start(): Promise<void> {
    this.options.log.debug('not built')
    throw new Error('not built')
  }

  stop(_deadline: AbortSignal): Promise<void> {
    throw new Error('not built')
  }

  /** Without I/O; counts over all cores are some seconds old. */
  stats(): DispatchStats {
    throw new Error('not built')
  }
}
