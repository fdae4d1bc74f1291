/** What an uplink needs to know, and what it needs of the spool. */

import type { Clock } from '../../shared/clock.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { SpoolItem } from '../spool/item.ts'
import type { UplinkTls } from './channel.ts'
import type { Lanes } from './flow.ts'

/** What the uplink needs of the spool. */
export interface UplinkSpool {
  /** Changes when the spool is replaced. */
  readonly epoch: string
  readonly bootId: string
  laneState(): Lanes
  /** Items that end after `afterSequence`, ascending; at least one when there is any. */
  readAfter(
    lane: Lane,
    afterSequence: number,
    limits: { readonly bytesMax: number; readonly throughSequence?: number },
  ): Promise<readonly SpoolItem[]>
  acknowledge(lane: Lane, ranges: readonly SequenceRange[]): void
  /** Calls back when records up to `nextSequence` of a lane are durable. */
  onAppended(listener: (lane: Lane, nextSequence: number) => void): void
  /** Calls back when a damaged spool was replaced by a new one. */
  onReplaced(listener: () => void): void
  stats(): {
    readonly lanes: Readonly<
      Record<
        Lane,
        {
          readonly records: number
          readonly bytes: number
          readonly oldestWallMs: number | null
        }
      >
    >
  }
}

export interface UplinkOptions {
  readonly spool: UplinkSpool
  readonly gatewayId: string
  readonly softwareVersion: string
  /** host:port of the cloud's ingest. */
  readonly address: string
  /** Plain text when absent. */
  readonly tls?: UplinkTls
  /** Default 'live-first'. */
  readonly order?: 'live-first' | 'strict'
  /** Share of the link for the backlog beside live telemetry, 0.05 to 0.95. Default 0.3. */
  readonly backfillShare?: number
  /** Default 1,000. */
  readonly keepaliveMs?: number
  /** Default 1,000. */
  readonly keepaliveTimeoutMs?: number
  /** Default 200 and 15,000: how long after the link is back the gateway may still wait. */
  readonly backoffBaseMs?: number
  readonly backoffMaxMs?: number
  /** Default 10,000. */
  readonly connectTimeoutMs?: number
  /** Default 30,000. */
  readonly ackTimeoutMs?: number
  /** Default 5,000. */
  readonly backlogReportMs?: number
  /** How long `stop` goes on sending and waits for acknowledgements. Default 2,000. */
  readonly stopTimeoutMs?: number
  /** Per feed. Default 1 MiB. */
  readonly readAheadBytes?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}
