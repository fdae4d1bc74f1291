/**
 * One gateway's stream: blocks and gaps come in, are decoded into a batch, published, their cursor stored, and only
 * then acknowledged. One batch is on its way at a time, which keeps each device's order; what arrives meanwhile gathers
 * and is decoded while the bus works, so batches grow with the load and nothing waits for a timer.
 */

import { status } from '@grpc/grpc-js'
import type { Block, Gap, SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock } from '../../shared/clock.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { BLOCK_BODY_BYTES_MAX } from '../../shared/limits.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { checkBlock, checkGap, type Placement, wireLaneOf } from './admission.ts'
import { Batch } from './batch.ts'
import { BatchFiller } from './batch-filler.ts'
import type { ByteBudget } from './byte-budget.ts'
import type { IngestCounters } from './counters.ts'
import type { CreditAccount } from './credit-pool.ts'
import type { Received } from './cursors.ts'
import type { Delivery } from './delivery.ts'
import type { DeviceRegistry } from './device-lookup.ts'
import type { AllowedSites } from './identity-guard.ts'
import { invalidArgument, type Refusal } from './refusal.ts'

export interface GatewayStreamOptions {
  readonly gatewayId: string
  readonly epoch: string
  /** What the cloud had when the gateway was admitted. */
  readonly received: Received
  readonly credit: CreditAccount
  readonly send: (response: SessionResponse) => void
  /** A batch is durable and acknowledged. @param newestWallMs gateway's wall clock of its newest block; 0 for none. */
  readonly onDelivered: (newestWallMs: number) => void
  /** Something other than a stop ended the work on this stream. */
  readonly onFailed: (error: unknown) => void
  readonly delivery: Delivery
  readonly registry: DeviceRegistry
  /** That the gateway may speak for. */
  readonly sites: AllowedSites
  /** A block has records for another site. */
  readonly onForeignSite: (siteId: number) => void
  /** Memory for decoded records, shared by all gateways. */
  readonly decoded: ByteBudget
  readonly counters: IngestCounters
  readonly futureToleranceMs: number
  readonly clock: Clock
  readonly log: Logger
}

type Gathered =
  | {
      readonly kind: 'block'
      readonly block: Block
      readonly placement: Placement
    }
  | { readonly kind: 'gap'; readonly gap: Gap; readonly placement: Placement }

/** A batch goes as soon as the bus is free and this much is decoded, or nothing more has arrived, bytes. */
const BATCH_BYTES_MIN = 512 * 1024
/** Decoded and waiting while the bus is busy, bytes. */
const BATCH_BYTES_MAX = 8 * 1024 * 1024
/** Decoding leaves the event loop to others after this long, milliseconds. */
const SLICE_MS = 4
/** Rough cost of a decoded record beside its payload, bytes. */
const RECORD_OVERHEAD_BYTES = 512
/** A gateway whose records are worked on hears something at least this often, milliseconds, or it would dial again. */
const STILL_WORKING_MS = 5_000

export class GatewayStream {
  private readonly options: GatewayStreamOptions
  private readonly filler: BatchFiller
  private readonly gathered: Gathered[] = []
  private pending = new Batch()
  private publishing: Promise<void> | null = null
  /** Durable in the cloud. */
  private received: Record<Lane, readonly SequenceRange[]>
  private readonly aborted = new AbortController()
  /** Nothing was said to the gateway since the last look. */
  private quiet = true
  private wake: (() => void) | null = null
  private draining = false
  private sliceEndsAt = 0
  private running: Promise<void> | null = null

  constructor(options: GatewayStreamOptions) {
    this.options = options
    const { delivery } = options
    this.filler = new BatchFiller({
      ...options,
      persist: (operation) => delivery.persist(operation, this.aborted.signal),
    })
    this.received = { ...options.received }
  }

  start(): void {
    this.running ??= this.run()
  }

  /** Takes a block; returns why not, or null. */
  acceptBlock(block: Block): Refusal | null {
    const checked = checkBlock(block)
    if (!checked.ok) return invalidArgument(checked.problem)
    if (!this.options.credit.arrived(block.data.length)) {
      return {
        code: status.RESOURCE_EXHAUSTED,
        details: `a block of ${block.data.length} bytes exceeds the credit`,
      }
    }
    this.take({ kind: 'block', block, placement: checked.value })
    return null
  }

  /** Takes a gap; returns why not, or null. */
  acceptGap(gap: Gap): Refusal | null {
    const checked = checkGap(gap)
    if (!checked.ok) return invalidArgument(checked.problem)
    this.take({ kind: 'gap', gap, placement: checked.value })
    return null
  }

  /** Items that were not decoded yet; the credit bounds their bytes, the server their number. */
  get gatheredItems(): number {
    return this.gathered.length
  }

  /** Resolves when the batch on its way has settled; nothing further is published or acknowledged. */
  async abort(): Promise<void> {
    this.aborted.abort()
    this.signalWake()
    await this.running
  }

  /** Resolves when everything taken so far is acknowledged, or the stream was aborted. */
  async drain(): Promise<void> {
    this.draining = true
    this.signalWake()
    await this.running
  }

  private take(item: Gathered): void {
    if (this.aborted.signal.aborted || this.draining) return
    this.gathered.push(item)
    this.signalWake()
  }

  private async run(): Promise<void> {
    const { signal } = this.aborted
    const stillWorking = this.options.clock.every(STILL_WORKING_MS / 2, () => this.sayStillWorking())
    try {
      while (!signal.aborted) {
        if (this.publishing === null && this.isDue()) this.publish()
        const next = this.gathered[0]
        if (next !== undefined && this.pending.decodedBytes < BATCH_BYTES_MAX) await this.decode(next)
        else if (this.publishing !== null || this.pending.isEmpty) {
          if (this.draining && this.publishing === null) break
          await this.woken()
        }
      }
    } catch (error) {
      if (!signal.aborted) this.options.onFailed(error)
      this.aborted.abort()
    }
    await this.publishing
    stillWorking.cancel()
    this.options.decoded.give(this.pending.decodedBytes)
    this.options.credit.close()
  }

  private isDue(): boolean {
    if (this.pending.isEmpty) return false
    return this.gathered.length === 0 || this.pending.decodedBytes >= BATCH_BYTES_MIN
  }

  /** Moves the first gathered item into the pending batch. */
  private async decode(item: Gathered): Promise<void> {
    const cost = item.kind === 'gap' ? 0 : decodedCost(item.block)
    const { decoded, clock } = this.options
    if (!decoded.tryTake(cost)) {
      // What this gateway holds goes first: waiting for memory while holding some could stop every gateway for good.
      if (!this.pending.isEmpty) {
        if (this.publishing === null) this.publish()
        else await this.woken()
        return
      }
      if (!(await decoded.take(cost, this.aborted.signal))) return
    }
    this.pending.decodedBytes += cost
    if (this.aborted.signal.aborted) return
    if (item.kind === 'gap') this.filler.addGap(item.gap, item.placement, this.pending)
    else await this.filler.addBlock(item.block, item.placement, this.pending)
    this.gathered.shift()
    if (clock.monotonicMs() < this.sliceEndsAt) return
    await nextTurn()
    this.sliceEndsAt = clock.monotonicMs() + SLICE_MS
  }

  /** Publishes the pending batch; the next one gathers meanwhile. */
  private publish(): void {
    const batch = this.pending
    this.pending = new Batch()
    this.publishing = this.deliver(batch)
      .catch((error: unknown) => {
        if (!this.aborted.signal.aborted) this.options.onFailed(error)
        this.aborted.abort()
      })
      .finally(() => {
        this.options.decoded.give(batch.decodedBytes)
        this.publishing = null
        this.signalWake()
      })
  }

  private async deliver(batch: Batch): Promise<void> {
    const { delivery, gatewayId, epoch, credit, clock } = this.options
    this.received = await delivery.deliver({ gatewayId, epoch }, batch, this.received, this.aborted.signal)
    if (this.aborted.signal.aborted) return
    // Durable on the bus and in the database: the gateway may delete it.
    const wallClockMs = Math.round(clock.wallMs())
    for (const lane of LANES) {
      const ranges = batch.ranges[lane]
      if (ranges.length > 0) this.send({ $case: 'ack', value: { lane: wireLaneOf(lane), ranges, wallClockMs } })
    }
    this.options.onDelivered(batch.newestWallMs)
    credit.finished(batch.dataBytes)
  }

  /** Whatever it is that takes long: the bus, the database, or memory that other gateways hold. */
  private sayStillWorking(): void {
    const isWorking = this.publishing !== null || this.gathered.length > 0 || !this.pending.isEmpty
    if (isWorking && this.quiet) this.send({ $case: 'credit', value: { bytes: 0 } })
    this.quiet = true
  }

  private send(message: NonNullable<SessionResponse['message']>): void {
    this.quiet = false
    if (!this.aborted.signal.aborted) this.options.send({ message })
  }

  private woken(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
    })
  }

  private signalWake(): void {
    this.wake?.()
    this.wake = null
  }
}

function decodedCost({ bodyBytes, recordCount }: Block): number {
  // Both are the gateway's word until the body is decoded; a record takes at least three bytes of it.
  const bytes = Math.min(bodyBytes, BLOCK_BODY_BYTES_MAX)
  return bytes + Math.min(recordCount, bytes / 3) * RECORD_OVERHEAD_BYTES
}
