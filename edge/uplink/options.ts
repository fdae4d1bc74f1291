/** What an uplink needs to know, and what it needs of the spool and of the inbox for commands. */

import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { SpoolItem } from '../spool/item.ts'
import type { UplinkTls } from './channel.ts'
import type { Lanes } from './flow.ts'
import type { SessionRules } from './session-state.ts'

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

/** What the uplink needs of the inbox for commands. */
export interface UplinkInbox {
  /**
   * Resolves once each command is on disk or known from before (`stored`), or was not taken (`refused`): the cloud is told,
   * and never again hands over what is stored.
   */
  receive(
    commands: readonly Command[],
  ): Promise<{ readonly stored: readonly string[]; readonly refused: readonly string[] }>
  /** These must not go to their devices any more; they may be among those whose `receive` is not answered yet. */
  cancel(commandIds: readonly string[]): void
  /** @param offsetMs cloud's wall clock less our monotonic one, milliseconds; never too small, so nothing goes out late. */
  learnCloudTime(offsetMs: number): void
  /** The cloud's wall clock said `cloudWallMs` at some moment between `sinceMs` on our monotonic clock and now. */
  confirmCloudTime(cloudWallMs: number, sinceMs: number): void
}

/** Where the cloud is and by what the two sides know each other. */
export interface UplinkTarget {
  /** host:port of the cloud's ingest. */
  readonly address: string
  /** Plain text when absent. */
  readonly tls?: UplinkTls
}

/** Asked at every dial, so that certificates can be replaced while the uplink runs. */
export interface UplinkCredentials {
  /** @throws BusbarError that says what is missing; the uplink asks again by and by. */
  target(): UplinkTarget
  /** Calls back when `target` has something else to say, so that nobody waits for the next dial. */
  onChanged(listener: () => void): void
}

export interface UplinkOptions {
  readonly spool: UplinkSpool
  /** Without one, commands are not taken, and the cloud gets no receipts. */
  readonly inbox?: UplinkInbox
  readonly gatewayId: string
  readonly softwareVersion: string
  readonly credentials: UplinkCredentials
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
  /** Default 60,000. */
  readonly certificateTimeoutMs?: number
  /** Per feed. Default 1 MiB. */
  readonly readAheadBytes?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Items sent and not acknowledged: the cloud's credit bounds their bytes, this their number. */
const OUTSTANDING_ITEMS_MAX = 1_024
const BURST_BYTES = 64 * 1024

/** The options as the session needs them. */
export function rulesOf(options: UplinkOptions): SessionRules {
  return {
    order: options.order ?? 'live-first',
    backfillShare: options.backfillShare ?? 0.3,
    readAheadBytes: options.readAheadBytes ?? 1024 * 1024,
    outstandingItemsMax: OUTSTANDING_ITEMS_MAX,
    burstBytes: BURST_BYTES,
    backoff: { baseMs: options.backoffBaseMs ?? 200, capMs: options.backoffMaxMs ?? 15_000 },
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    ackTimeoutMs: options.ackTimeoutMs ?? 30_000,
    backlogReportMs: options.backlogReportMs ?? 5_000,
    stopTimeoutMs: options.stopTimeoutMs ?? 2_000,
    certificateTimeoutMs: options.certificateTimeoutMs ?? 60_000,
    takesCommands: options.inbox !== undefined,
    random: options.random,
  }
}
