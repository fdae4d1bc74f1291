/** How the embedded log is set up and how much it holds. Every limit has its default here. */

import type { Clock } from '../../../shared/clock.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Random } from '../../../shared/random.ts'
import type { TopicSpec } from '../catalogue.ts'
import type { ReadLimits } from './partition-reader.ts'

export interface EmbeddedBusOptions {
  /** Directory of the log; made when missing. */
  readonly dir: string
  /** Stored bytes of all topics; above it the oldest records of any topic go first. Default 10 GiB. */
  readonly bytesMax?: number
  /** Bytes accepted and not yet durable; above it publishers wait. Default 64 MiB. */
  readonly queueBytesMax?: number
  readonly limits?: ReadLimits
  /** How often old records are looked for, milliseconds. Default 30 s. */
  readonly retentionPeriodMs?: number
  readonly topics: readonly TopicSpec[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export const EMBEDDED_BYTES_MAX = 10 * 1024 ** 3
export const QUEUE_BYTES_MAX = 64 * 1024 ** 2
export const RETENTION_PERIOD_MS = 30_000
