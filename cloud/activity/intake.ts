/** Takes in what others have to record: checked, and put onto the bus whole or not at all. */

import type { Clock } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus } from '../bus/bus.ts'
import type { ActivityTypes } from './activity-types.ts'
import type { UserActivity } from './event.ts'

export interface IntakeOptions {
  readonly bus: Pick<Bus, 'publish'>
  /** Known once all routes are. */
  readonly types: () => ActivityTypes
  readonly settings: {
    readonly batchMax: number
    readonly metadataBytesMax: number
    readonly futureToleranceMs: number
  }
  readonly clock: Clock
  readonly random: Random
}

/** As it was sent; what is absent is filled in. */
export type GivenActivity = Omit<UserActivity, 'eventId' | 'version' | 'timestamp' | 'metadata'> &
  Partial<Pick<UserActivity, 'eventId' | 'version' | 'timestamp' | 'metadata'>>

export interface RefusedMember {
  /** JSON Pointer. */
  readonly pointer: string
  readonly value?: unknown
  readonly remedy: string
}

export interface IntakeStats {
  /** Requests that were put onto the bus, since the start. */
  readonly batches: number
  /** Activities of them. */
  readonly taken: number
  /** Requests that were refused for what they said. */
  readonly refused: number
  /** Requests that the bus did not take. */
  readonly failed: number
}

export class ActivityIntake {
  private readonly options: IntakeOptions

  constructor(options: IntakeOptions) {
    this.options = options
  }

  get batchMax(): number {
    return this.options.settings.batchMax
  }

  stats(): IntakeStats {
    return { batches: 0, taken: 0, refused: 0, failed: 0 }
  }
}
