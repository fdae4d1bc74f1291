/** Puts a gateway's blocks and gaps into batches: opened, stripped of what the cloud has, sorted by topic. */

import type { Block, Gap } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import { addRange, missingFrom } from '../../shared/sequence-ranges.ts'
import { gapReasonOf, gapStretchOf, type Placement } from './admission.ts'
import type { Batch } from './batch.ts'
import { openBlock } from './block-body.ts'
import type { IngestCounters } from './counters.ts'
import type { Received } from './cursors.ts'
import { DeviceLookup, type DeviceRegistry, type Source } from './device-lookup.ts'
import type { AllowedSites } from './identity-guard.ts'
import { isRejection } from './json-object.ts'
import { RecordSorter } from './record-sorter.ts'

export interface BatchFillerOptions {
  readonly gatewayId: string
  readonly epoch: string
  /** What the cloud had when the gateway was admitted. */
  readonly received: Received
  readonly registry: DeviceRegistry
  /** That the gateway may speak for. */
  readonly sites: AllowedSites
  /** A block has records for another site; told once a block and site. */
  readonly onForeignSite: (siteId: number) => void
  readonly counters: IngestCounters
  /** How far after its receipt a reading's timestamp may lie. */
  readonly futureToleranceMs: number
  /** Tries until it succeeds. */
  readonly persist: (operation: () => Promise<void>) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
}

export class BatchFiller {
  private readonly options: BatchFillerOptions
  private readonly sorter: RecordSorter
  private readonly devices: DeviceLookup
  /** What the cloud has, and what is in a batch. */
  private readonly claimed: Record<Lane, readonly SequenceRange[]>

  constructor(options: BatchFillerOptions) {
    this.options = options
    this.sorter = new RecordSorter(options)
    this.devices = new DeviceLookup(options)
    this.claimed = { ...options.received }
  }

  /** Rejects when `persist` does. */
  async addBlock(block: Block, { lane, range }: Placement, batch: Batch): Promise<void> {
    const { counters } = this.options
    const wanted = missingFrom(this.claimed[lane], range)
    const wantedCount = wanted.reduce((sum, { first, last }) => sum + last - first + 1, 0)
    counters.blocks++
    counters.bytes += block.data.length
    counters.duplicatesDropped += block.recordCount - wantedCount
    if (wantedCount > 0) await this.sort(block, lane, wanted, batch)
    batch.dataBytes += block.data.length
    batch.newestWallMs = Math.max(batch.newestWallMs, block.wallClockMs)
    this.cover(lane, range, batch)
  }

  addGap(gap: Gap, { lane, range }: Placement, batch: Batch): void {
    const { gatewayId, epoch } = this.options
    const lost = { gatewayId, epoch, lane, reason: gapReasonOf(gap), atMs: gap.wallClockMs, ...gapStretchOf(gap) }
    // What arrived before the gateway gave it up is not lost.
    for (const { first, last } of missingFrom(this.claimed[lane], range)) {
      batch.gaps.push({ ...lost, firstSequence: first, recordCount: last - first + 1 })
    }
    this.cover(lane, range, batch)
  }

  private async sort(block: Block, lane: Lane, wanted: readonly SequenceRange[], batch: Batch): Promise<void> {
    const records = openBlock(block)
    if (isRejection(records)) {
      const { gatewayId, log } = this.options
      const { firstSequence, recordCount } = block
      log.error({ gatewayId, lane, firstSequence, recordCount, problem: records.message }, 'corrupt block')
      this.sorter.sortCorrupt(block, lane, records, batch)
      return
    }
    const sources = new Map<string, Source>()
    const missing = this.devices.fromMemory(new Set(records.map(({ topic }) => topic)), sources)
    if (missing.length > 0) await this.options.persist(() => this.devices.fromRegistry(missing, sources))
    for (const siteId of foreignSites(sources)) this.options.onForeignSite(siteId)
    this.sorter.sort(block, records, wanted, sources, batch)
  }

  private cover(lane: Lane, range: SequenceRange, batch: Batch): void {
    this.claimed[lane] = addRange(this.claimed[lane], range)
    batch.cover(lane, range)
  }
}

function foreignSites(sources: ReadonlyMap<string, Source>): Set<number> {
  const siteIds = new Set<number>()
  for (const source of sources.values()) if (source.topic !== null && source.foreign) siteIds.add(source.topic.siteId)
  return siteIds
}
