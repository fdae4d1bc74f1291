/** Where records wait that their consumers cannot handle yet. */

import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Bus } from './bus.ts'

/** The section `consumers` of the configuration. */
export interface ConsumerSettings {
  readonly retries: number
  readonly deviceRetries: number
  readonly retryBaseMs: number
  readonly retryCapMs: number
  readonly parkedMax: number
}

export interface ParkingOptions {
  readonly database: DatabaseHandle
  readonly bus: Pick<Bus, 'publish'>
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly settings: ConsumerSettings
  /** How often what other cores set aside is looked for, milliseconds. Default 1,000. */
  readonly pollMs?: number
  /** How long after its core died a key is taken over, milliseconds. The cores' clocks differ by less. Default 15,000. */
  readonly leaseMs?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export class Parking implements Part {
  readonly name = 'parking'
  readonly options: ParkingOptions

  constructor(options: ParkingOptions) {
    this.options = options
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}
}
