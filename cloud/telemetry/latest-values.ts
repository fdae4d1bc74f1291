/**
 * Analytics of device records: the latest value of every field of every device, and the devices' statuses. Offsets are
 * committed only after the database has them; a batch that comes twice changes nothing.
 */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { Bus, ConsumedBatch, ConsumedRecord, Subscription } from '../bus/bus.ts'
import { ANALYTICS_GROUP, DEVICE_STATUS, DEVICE_TELEMETRY, deadLetterTopicOf } from '../bus/catalogue.ts'
import { deadLetters } from '../bus/dead-letter.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { StatusChange } from '../registry/device.ts'
import { type Reading, readReading, readStatusEvent, type UnusableEvent } from '../registry/device-event.ts'
import type { Registry } from '../registry/registry.ts'
import { GatheredWrites } from './gathered-writes.ts'
import { type DeviceFields, type FieldDrops, mergeFields, mergeReading } from './latest-fields.ts'
import { type DeviceLatest, LatestStore } from './latest-store.ts'

export interface LatestValuesOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly registry: Pick<Registry, 'writeStatuses'>
  /** How long after the bus took it in a record may wait for others to be written with, milliseconds. Default 200. */
  readonly writeDelayMs?: number
  /** A batch of at least this many records does not wait. Default 1,000. */
  readonly fullBatchRecords?: number
  /** Records read before everything else in the process gets its turn. Default 500, about 2 ms. */
  readonly recordsPerTurn?: number
  readonly clock: Clock
  readonly log: Logger
}

export interface LatestValuesStats {
  /** Records whose effect is durable. */
  readonly records: number
  /** Transactions, and rows that they changed. */
  readonly writes: number
  readonly writtenRows: number
  /** Records that were dead-lettered. */
  readonly unusableRecords: number
  /** Fields that are not kept as latest values, by reason; the records themselves are on the bus. */
  readonly droppedFields: Readonly<FieldDrops>
}

/** A latest value is seen this much later at most, and under a light load the brokers are asked far less often. */
const GATHER_MS = 100

/** What one write carries. */
interface Gathered {
  readonly devices: Map<number, DeviceFields>
  readonly statuses: StatusChange[]
}

export class LatestValues implements Part {
  readonly name = 'latest values'
  private readonly options: LatestValuesOptions
  private readonly store: LatestStore
  private readonly writes: GatheredWrites<Gathered>
  private readonly drops: FieldDrops = { tooLong: 0, tooMany: 0 }
  private readonly counts = { records: 0, writes: 0, writtenRows: 0, unusableRecords: 0 }
  private subscribing: Promise<Subscription> | null = null
  private stopping: Promise<void> | null = null

  constructor(options: LatestValuesOptions) {
    this.options = options
    this.store = new LatestStore(options.database)
    this.writes = new GatheredWrites<Gathered>({
      clock: options.clock,
      empty: () => ({ devices: new Map(), statuses: [] }),
      write: (gathered) => this.write(gathered),
    })
  }

  async start(): Promise<void> {
    this.subscribing ??= this.options.bus.subscribe({
      group: ANALYTICS_GROUP,
      topics: [DEVICE_TELEMETRY, DEVICE_STATUS],
      onBatch: (batch) => this.consume(batch),
      gatherMs: GATHER_MS,
    })
    await this.subscribing
  }

  /** Writes the batches in hand and leaves the group. */
  async stop(): Promise<void> {
    this.writes.hurry()
    this.stopping ??= this.leave()
    await this.stopping
  }

  /** Null when nothing has arrived from the device. @throws BusbarError DATABASE_UNAVAILABLE */
  latest(deviceId: number): Promise<DeviceLatest | null> {
    return this.store.latest(deviceId)
  }

  /** Of the devices of a site that anything has arrived from, by device id, at most 10,000. */
  latestOfSite(siteId: number): Promise<readonly DeviceLatest[]> {
    return this.store.latestOfSite(siteId)
  }

  stats(): LatestValuesStats {
    return { ...this.counts, droppedFields: { ...this.drops } }
  }

  private async leave(): Promise<void> {
    const subscription = await this.subscribing?.catch(() => null)
    await subscription?.stop()
  }

  /** Resolves when every effect of the batch is durable. */
  private async consume(batch: ConsumedBatch): Promise<void> {
    const { clock, writeDelayMs = 200, fullBatchRecords = 1_000 } = this.options
    const arrived: Gathered = { devices: new Map(), statuses: [] }
    const unusable = await this.read(batch, arrived)
    const newest = batch.records[batch.records.length - 1] as ConsumedRecord
    // Who lags behind the bus must not wait; neither does a clock that was stepped make anyone wait for longer.
    const sinceMs = Math.max(0, clock.wallMs() - newest.timestampMs)
    const delayMs = batch.records.length >= fullBatchRecords ? 0 : writeDelayMs - sinceMs
    await this.writes.add((gathered) => this.gather(gathered, arrived), delayMs)
    // Last, because a batch whose write fails comes again, and each time would leave another dead letter.
    if (unusable.length > 0) await this.deadLetter(batch.topic, unusable)
    this.counts.records += batch.records.length
  }

  private async read(batch: ConsumedBatch, arrived: Gathered): Promise<[ConsumedRecord, UnusableEvent][]> {
    const { recordsPerTurn = 500 } = this.options
    const unusable: [ConsumedRecord, UnusableEvent][] = []
    for (let i = 0; i < batch.records.length; i++) {
      if (i > 0 && i % recordsPerTurn === 0) await nextTurn()
      const record = batch.records[i] as ConsumedRecord
      const event = batch.topic === DEVICE_STATUS ? readStatusEvent(record) : readReading(record)
      if ('unusable' in event) unusable.push([record, event])
      else if ('status' in event) arrived.statuses.push(event)
      else this.takeReading(arrived.devices, event)
    }
    return unusable
  }

  private takeReading(devices: Map<number, DeviceFields>, reading: Reading): void {
    const { deviceId, siteId, serialNumber, fields, atMs, receivedAtMs } = reading
    let device = devices.get(deviceId)
    if (device === undefined) {
      device = {
        deviceId,
        siteId,
        serialNumber,
        fields: new Map(),
        eventAtMs: atMs,
        receivedAtMs,
      }
      devices.set(deviceId, device)
    } else if (atMs >= device.eventAtMs) {
      device.eventAtMs = atMs
      device.receivedAtMs = receivedAtMs
    }
    mergeReading(device, fields, atMs, this.drops)
  }

  private gather(gathered: Gathered, arrived: Gathered): void {
    for (const [deviceId, device] of arrived.devices) {
      const known = gathered.devices.get(deviceId)
      if (known === undefined) gathered.devices.set(deviceId, device)
      else mergeFields(known, device, this.drops)
    }
    for (const change of arrived.statuses) gathered.statuses.push(change)
  }

  private async write({ devices, statuses }: Gathered): Promise<void> {
    const { database, registry } = this.options
    if (devices.size === 0 && statuses.length === 0) return
    const written = await database.transaction(async (transaction) => {
      // Ingest has written its own already, in the order in which they came, which event times do not always tell.
      if (statuses.length > 0) await registry.writeStatuses(statuses, transaction, 'keep')
      return await this.store.merge([...devices.values()], transaction, this.drops)
    })
    this.counts.writes++
    this.counts.writtenRows += written
  }

  /** What no retry can mend is kept with the reason, and the rest goes on. */
  private async deadLetter(topic: string, unusable: readonly [ConsumedRecord, UnusableEvent][]): Promise<void> {
    const { bus, clock, log } = this.options
    const atMs = clock.wallMs()
    const letters = unusable.flatMap(([record, { message }]) =>
      deadLetters(record, { source: ANALYTICS_GROUP, code: 'RECORD_UNUSABLE', message, retryCount: 0, atMs }),
    )
    try {
      await bus.publish(deadLetterTopicOf(topic), letters)
    } catch (error) {
      const message = `records that cannot be used could not be dead-lettered: ${messageOf(error)}`
      throw new BusbarError(message, { code: 'DEAD_LETTER_FAILED', retryable: true, cause: error })
    }
    this.counts.unusableRecords += unusable.length
    log.warn({ topic, records: unusable.length, reason: unusable[0]?.[1].message }, 'records dead-lettered')
  }
}
