/**
 * Makes a batch durable: first on the bus, then its cursor, gaps, status changes and reports of commands in the database,
 * together. Whatever fails is tried again until it works or the stream ends; a crash in between publishes the same records
 * again with the same (gateway, epoch, seq).
 */

import type { Clock } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import type { Bus, BusRecord } from '../bus/bus.ts'
import { DEVICE_STATUS } from '../bus/catalogue.ts'
import { storedOf } from '../bus/publish-error.ts'
import type { StoredStatus } from '../registry/device-status-store.ts'
import type { Registry } from '../registry/registry.ts'
import type { Batch } from './batch.ts'
import type { IngestCounters } from './counters.ts'
import type { CursorStore, Received } from './cursors.ts'
import { type StatusChanges, statusChanges } from './status-changes.ts'

const BACKOFF = { baseMs: 100, capMs: 5_000 }
/** A dependency that stays down is logged once in this long, milliseconds. */
const COMPLAINT_PERIOD_MS = 10_000

export interface DeliveryOptions {
  readonly bus: Pick<Bus, 'publish'>
  readonly cursors: Pick<CursorStore, 'save'>
  readonly registry: Pick<Registry, 'storedStatuses'>
  readonly counters: IngestCounters
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Whose batch it is. */
export interface BatchOrigin {
  readonly gatewayId: string
  readonly epoch: string
}

export class Delivery {
  private readonly options: DeliveryOptions
  private readonly complaints: ComplaintLimit

  constructor(options: DeliveryOptions) {
    this.complaints = new ComplaintLimit(options.clock, COMPLAINT_PERIOD_MS)
    this.options = options
  }

  /** Resolves with what is received once all of it is durable; rejects only when `signal` gave it up. */
  async deliver(
    { gatewayId, epoch }: BatchOrigin,
    batch: Batch,
    before: Received,
    signal: AbortSignal,
  ): Promise<Record<Lane, readonly SequenceRange[]>> {
    const { cursors, counters, clock } = this.options
    // Decided only now that everything before is in the registry.
    const { records, changes, repeated, unchanged } = await this.statusChanges(batch, signal)
    for (const record of records) batch.add(DEVICE_STATUS, record)
    const begun = clock.monotonicMs()
    await Promise.all([...batch.topics].map(([topic, topicRecords]) => this.publish(topic, topicRecords, signal)))
    counters.publishMs += clock.monotonicMs() - begun
    counters.batches++
    const received = { ...before }
    const changed: Partial<Record<Lane, readonly SequenceRange[]>> = {}
    for (const lane of LANES) {
      if (batch.ranges[lane].length === 0) continue
      changed[lane] = received[lane] = batch.ranges[lane].reduce<readonly SequenceRange[]>(addRange, before[lane])
    }
    const { gaps, reports } = batch
    const update = { gatewayId, epoch, received: changed, gaps, statuses: changes, repeated, reports }
    await this.persist(() => cursors.save(update), signal)
    this.count(batch, unchanged)
    return received
  }

  /** Asks the database, not the registry's memory: silence and other cores change statuses too, and this is rare. */
  private async statusChanges({ statuses }: Batch, signal: AbortSignal): Promise<StatusChanges> {
    const { registry, clock } = this.options
    const deviceIds = [...new Set(statuses.map(({ device }) => device.deviceId))]
    let stored: ReadonlyMap<number, StoredStatus> = new Map()
    if (deviceIds.length > 0) {
      await this.persist(async () => {
        stored = await registry.storedStatuses(deviceIds)
      }, signal)
    }
    return statusChanges(statuses, stored, clock.wallMs())
  }

  /** Tries `operation` until it succeeds; rejects with its last error once `signal` aborts. */
  persist(operation: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.options
    const onRetry = (error: unknown): void => this.noteFailure(error)
    return retry(operation, { clock, random, backoff: BACKOFF, signal, onRetry })
  }

  /** What the bus has stored is not tried again: a partition without a leader must not double what goes to the others. */
  private publish(topic: string, records: readonly BusRecord[], signal: AbortSignal): Promise<void> {
    let missing = records
    const attempt = async (): Promise<void> => {
      try {
        await this.options.bus.publish(topic, missing)
      } catch (error) {
        const stored = new Set(storedOf(error))
        if (stored.size > 0) missing = missing.filter((_, index) => !stored.has(index))
        throw error
      }
    }
    return this.persist(attempt, signal)
  }

  private noteFailure(error: unknown): void {
    const { log, counters } = this.options
    counters.retries++
    if (!this.complaints.isDue()) return
    log.warn({ error: messageOf(error), retries: counters.retries }, 'ingest waits for a dependency')
  }

  private count(batch: Batch, unchanged: number): void {
    const { counters } = this.options
    for (const records of batch.topics.values()) counters.recordsPublished += records.length
    for (const code of batch.deadLetterCodes) counters.deadLetter(code)
    for (const { reason, recordCount } of batch.gaps) counters.lost(reason, recordCount)
    counters.statusUnchanged += unchanged
    counters.commandReports += batch.reports.length
    counters.timestampsRefused += batch.timestampsRefused
  }
}
