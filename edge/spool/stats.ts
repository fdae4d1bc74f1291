/** What the spool tells of itself, and what it logs when that changes. */

import { LANES, type Lane } from '../../shared/lanes.ts'
import type { Logger } from '../../shared/log.ts'
import { GAP_REASONS, type GapReason } from './item.ts'
import type { LaneReport, StoreReport } from './messages.ts'

export interface SpoolStats {
  readonly lanes: Readonly<Record<Lane, LaneReport>>
  /** Records appended and durable since the start. */
  readonly appendedRecords: number
  /** Commits since the start. */
  readonly commits: number
  /** Bytes written to the disk since the start; what wears a flash card out. */
  readonly bytesWritten: number
  /** Records given up since the start, by reason. */
  readonly evicted: Readonly<Record<GapReason, number>>
  /** Damaged blocks kept for a post-mortem. */
  readonly quarantinedBlocks: number
  /** Newest damaged spool file that was set aside, by name. */
  readonly damagedFile: string | null
  /** Infinity when it cannot be told. */
  readonly diskFreeBytes: number
  /** Why nothing can be stored at present; null when all is well. */
  readonly failing: string | null
}

const EMPTY_LANE: LaneReport = { records: 0, bytes: 0, oldestSequence: 0, oldestWallMs: null, nextSequence: 0 }

/** Keeps the latest report and what outlives the thread that made it. */
/**
 * 'replaced': the spool has another epoch, and sequences that have nothing to do with the former. 'reduced': records
 * were given up. Otherwise null.
 */
export type SpoolChange = 'replaced' | 'reduced' | null

export class Ledger {
  appendedRecords = 0
  commits = 0
  failing: string | null = null
  private latest: StoreReport | null = null
  /** From threads that died: their successors count from zero. */
  private earlier = { evicted: counts(() => 0), bytesWritten: 0 }
  private readonly log: Logger

  constructor(log: Logger) {
    this.log = log
  }

  get epoch(): string {
    return this.latest?.epoch ?? ''
  }

  lane(lane: Lane): LaneReport {
    return this.latest?.lanes[lane] ?? EMPTY_LANE
  }

  held(lane: Lane): { oldestSequence: number; nextSequence: number } {
    const { oldestSequence, nextSequence } = this.lane(lane)
    return { oldestSequence, nextSequence }
  }

  get isEmpty(): boolean {
    return LANES.every((lane) => this.lane(lane).bytes === 0)
  }

  take(report: StoreReport | null): SpoolChange {
    if (report === null) return null
    const before = this.latest
    this.latest = report
    this.announce(before, report)
    if (before === null) return null
    if (before.epoch !== report.epoch) return 'replaced'
    const reduced = GAP_REASONS.some((reason) => report.evicted[reason] !== before.evicted[reason])
    return reduced ? 'reduced' : null
  }

  /** The thread that made the reports is gone. */
  threadEnded(): void {
    if (this.latest === null) return
    const { evicted, bytesWritten } = this.stats()
    this.earlier = { evicted, bytesWritten }
    this.latest = { ...this.latest, evicted: counts(() => 0), bytesWritten: 0 }
  }

  /** Notes why storing fails, or with null that it works; logs the change only. */
  setFailing(reason: string | null): void {
    if (reason !== null && this.failing === null)
      this.log.error({ reason }, 'the spool cannot store; nothing is acknowledged')
    if (reason === null && this.failing !== null) this.log.info('the spool stores again')
    this.failing = reason
  }

  stats(): SpoolStats {
    const { latest, earlier } = this
    return {
      lanes: { priority: this.lane('priority'), telemetry: this.lane('telemetry') },
      appendedRecords: this.appendedRecords,
      commits: this.commits,
      bytesWritten: earlier.bytesWritten + (latest?.bytesWritten ?? 0),
      evicted: counts((reason) => earlier.evicted[reason] + (latest?.evicted[reason] ?? 0)),
      quarantinedBlocks: latest?.quarantinedBlocks ?? 0,
      damagedFile: latest?.damagedFile ?? null,
      diskFreeBytes: latest?.diskFreeBytes ?? Number.POSITIVE_INFINITY,
      failing: this.failing,
    }
  }

  private announce(before: StoreReport | null, now: StoreReport): void {
    if (now.damagedFile !== null && now.damagedFile !== before?.damagedFile) {
      this.log.error({ file: now.damagedFile, epoch: now.epoch }, 'a damaged spool lies aside; send it to support')
    }
    if (now.quarantinedBlocks > (before?.quarantinedBlocks ?? 0)) {
      this.log.error({ blocks: now.quarantinedBlocks }, 'a corrupt block was put into quarantine')
    }
    for (const reason of GAP_REASONS) {
      // The first of a kind; how many more follow is in the metrics.
      const isFirst = (before?.evicted[reason] ?? 0) === 0 && this.earlier.evicted[reason] === 0
      if (isFirst && now.evicted[reason] > 0) this.log.warn({ reason }, 'records are being given up')
    }
  }
}

function counts(of: (reason: GapReason) => number): Record<GapReason, number> {
  return { bytes: of('bytes'), age: of('age'), disk: of('disk'), corrupt: of('corrupt') }
}
