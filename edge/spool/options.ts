/** What a spool needs to know. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'

export interface SpoolOptions {
  /** Directory of the spool's files; created when missing. One process at a time. */
  readonly dir: string
  /** Bytes that the spool may take on the disk; at the limit the oldest telemetry is given up. */
  readonly bytesMax: number
  /** Age at which records are given up, milliseconds. */
  readonly ageMaxMs: number
  /** Free bytes of the disk that the spool leaves to others. */
  readonly diskFreeBytesMin: number
  /** Body of a block before compression, bytes; at most BLOCK_BODY_BYTES_MAX. A larger record gets a block of its own. */
  readonly blockBytesMax: number
  /** Bytes accepted but not yet durable beyond which `accepting` is false. */
  readonly pendingBytesMax: number
  /** zstd level; 1 is nearly as small as 3 on telemetry, and the fastest. */
  readonly compressionLevel: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Overrides the operating system's boot id; the clock's monotonic time must then count from that boot. */
  readonly bootId?: string
}
