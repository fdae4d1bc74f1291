/** What an uplink did and how it stands, for metrics, health and the status command. */

import type { Clock } from '../../shared/clock.ts'
import type { BusbarError } from '../../shared/errors.ts'
import { creditCost } from './feed.ts'
import type { Oddity, SessionEffect, SessionState } from './session-state.ts'

export interface UplinkStats {
  readonly state: SessionState['name']
  /** Whether records can flow. */
  readonly connected: boolean
  /** Wall clock of the last Welcome while connected, Unix milliseconds; null when not connected. */
  readonly connectedSinceMs: number | null
  /** Wall clock of the last acknowledgement; null when there was none yet. */
  readonly lastAckWallMs: number | null
  /** Records sent, those sent again included. */
  readonly sentRecords: number
  readonly ackedRecords: number
  /** Block data sent, bytes, what was sent again included. */
  readonly sentBytes: number
  /** Bytes that may be sent now. */
  readonly creditBytes: number
  /** Items sent and not acknowledged. */
  readonly outstandingItems: number
  /** Sessions that were admitted after the first. */
  readonly reconnects: number
  /** Why the last session ended or the last dial failed; null while connected. */
  readonly lastError: string | null
  readonly lastErrorCode: string | null
  /** Our wall clock less the cloud's at the last Welcome, milliseconds; null before the first. */
  readonly clockOffsetMs: number | null
  /** The cloud's wall clock at this moment, as far as known; null before the first Welcome. */
  readonly cloudWallMs: number | null
  /** What the cloud said that was not expected, by kind. */
  readonly oddities: Readonly<Record<Oddity, number>>
}

export class UplinkStatistics {
  private readonly clock: Clock
  private connectedSinceMs: number | null = null
  private lastAckWallMs: number | null = null
  private sentRecords = 0
  private ackedRecords = 0
  private sentBytes = 0
  private sessions = 0
  private lastError: BusbarError | null = null
  private clockOffsetMs: number | null = null
  /** The cloud's wall clock less our monotonic one. */
  private cloudOffsetMs: number | null = null
  private readonly oddities: Record<Oddity, number> = {
    unknownLane: 0,
    strayAck: 0,
    unexpectedMessage: 0,
  }

  constructor(clock: Clock) {
    this.clock = clock
  }

  note(effect: SessionEffect): void {
    switch (effect.kind) {
      case 'connected':
        this.sessions++
        this.connectedSinceMs = this.clock.wallMs()
        this.clockOffsetMs = this.connectedSinceMs - effect.cloudWallMs
        this.cloudOffsetMs = effect.cloudWallMs - effect.helloAt
        this.lastError = null
        break
      case 'send':
        this.sentBytes += creditCost(effect.item)
        if (effect.item.kind === 'block') this.sentRecords += effect.item.recordCount
        break
      case 'acknowledge':
        this.lastAckWallMs = this.clock.wallMs()
        this.ackedRecords += effect.records
        break
      case 'cloudTime':
        this.cloudOffsetMs = effect.cloudWallMs - effect.since
        break
      case 'odd':
        this.oddities[effect.oddity]++
        break
    }
  }

  /** True when this is news: the first failure after a connection, or one of another kind. */
  failed(error: BusbarError): boolean {
    const news = this.connectedSinceMs !== null || this.lastError?.code !== error.code
    this.connectedSinceMs = null
    this.lastError = error
    return news
  }

  snapshot(state: SessionState): UplinkStats {
    const flow = state.name === 'streaming' || state.name === 'stopping' ? state.flow : null
    return {
      state: state.name,
      connected: flow !== null,
      connectedSinceMs: flow === null ? null : this.connectedSinceMs,
      lastAckWallMs: this.lastAckWallMs,
      sentRecords: this.sentRecords,
      ackedRecords: this.ackedRecords,
      sentBytes: this.sentBytes,
      creditBytes: flow?.credit ?? 0,
      outstandingItems: flow?.outstanding.length ?? 0,
      reconnects: Math.max(0, this.sessions - 1),
      lastError: this.lastError?.message ?? null,
      lastErrorCode: this.lastError?.code ?? null,
      clockOffsetMs: this.clockOffsetMs,
      cloudWallMs: this.cloudOffsetMs === null ? null : this.clock.monotonicMs() + this.cloudOffsetMs,
      oddities: { ...this.oddities },
    }
  }
}
