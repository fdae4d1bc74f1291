/**
 * Makes a batch durable: first on the bus, then its cursor, gaps and status changes in the database, together. Whatever
 * fails is tried again until it works or the stream ends; a crash in between publishes the same records again with the
 * same (gateway, epoch, seq).
 */

import type { Clock } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import type { Bus } from '../bus/bus.ts'
import { DEVICE_STATUS } from '../bus/catalogue.ts'
import type { Batch } from './batch.ts'
import type { IngestCounters } from './counters.ts'
import type { CursorStore, Received } from './cursors.ts'
import { statusChanges } from './status-changes.ts'

const BACKOFF = { baseMs: 100, capMs: 5_000 }
/** A dependency that stays down is logged once in so many tries. */
const TRIES_A_LOG_LINE = 20

export interface DeliveryOptions {
  readonly bus: Pick<Bus, 'publish'>
  readonly cursors: Pick<CursorStore, 'save'>
  readonly counters: IngestCounters
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export class Delivery {
  private readonly options: DeliveryOptions

  constructor(options: DeliveryOptions) {
    this.options = options
  }

  /** Resolves with what is received once all of it is durable; rejects only when `signal` gave it up. */
  async deliver(
    origin: { readonly gatewayId: string; readonly epoch: string },
    batch: Batch,
    before: Received,
    signal: AbortSignal,
  ): Promise<Record<Lane, readonly SequenceRange[]>> {
    const { bus, cursors, counters, clock } = this.options
    // Decided only now that everything before is in the registry.
    const { records, changes, unchanged } = statusChanges(batch.statuses)
    for (const record of records) batch.add(DEVICE_STATUS, record)
    const begun = clock.monotonicMs()
    await Promise.all(
      [...batch.topics].map(([topic, topicRecords]) => this.persist(() => bus.publish(topic, topicRecords), signal)),
    )
    counters.publishMs += clock.monotonicMs() - begun
    counters.batches++
    const received = { ...before }
    const changed: Partial<Record<Lane, readonly SequenceRange[]>> = {}
    for (const lane of LANES) {
      if (batch.ranges[lane].length === 0) continue
      changed[lane] = received[lane] = batch.ranges[lane].reduce<readonly SequenceRange[]>(addRange, before[lane])
    }
    await this.persist(
      () =>
        cursors.save({
          ...origin,
          received: changed,
          gaps: batch.gaps,
          statuses: changes,
        }),
      signal,
    )
    this.count(batch, unchanged)
    return received
  }

  /** Tries `operation` until it succeeds; rejects with its last error once `signal` aborts. */
  persist(operation: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random, log, counters } = this.options
    return retry(operation, {
      clock,
      random,
      backoff: BACKOFF,
      signal,
      onRetry: (error, attempt) => {
        counters.retries++
        if (attempt % TRIES_A_LOG_LINE === 0) log.warn({ error: messageOf(error) }, 'ingest waits for a dependency')
      },
    })
  }

  private count(batch: Batch, unchanged: number): void {
    const { counters } = this.options
    for (const records of batch.topics.values()) counters.recordsPublished += records.length
    for (const code of batch.deadLetterCodes) counters.deadLetter(code)
    for (const { reason, recordCount } of batch.gaps) counters.lost(reason, recordCount)
    counters.statusUnchanged += unchanged
    counters.timestampsRefused += batch.timestampsRefused
  }
}
