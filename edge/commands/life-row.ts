/** A command's life as a row of the inbox says it, and back. */

import { type CommandLife, type Handshake, type Now, type Outcome, WAITING } from './life-state.ts'

export interface LifeRow {
  /** `published` as soon as it may have been written to the device. */
  readonly phase: 'waiting' | 'published' | 'received' | 'delivered' | 'ended'
  /** The handshake that is open, or that the device may still hold open after the end. */
  readonly via: Handshake | null
  /** When the timeout began to count: monotonic clock since the boot. */
  readonly sinceMs: number
  readonly bootId: string
  readonly outcome: Outcome | null
  /** The cloud's wall clock at the end, Unix milliseconds; null before, or when it was not known. */
  readonly endedMs: number | null
}

export function rowOf(life: CommandLife, bootId: string, now: Now): LifeRow {
  const row = { via: null, sinceMs: now.monotonicMs, bootId, outcome: null, endedMs: null }
  switch (life.phase) {
    case 'waiting':
      return { ...row, phase: 'waiting' }
    case 'claiming':
      return { ...row, phase: 'published', via: life.via }
    case 'published':
    case 'repeating':
      return { ...row, phase: 'published', via: life.via, sinceMs: life.sinceMs }
    case 'receiving':
    case 'received':
      return { ...row, phase: 'received', via: life.via, sinceMs: life.sinceMs }
    case 'delivered':
      return { ...row, phase: 'delivered', sinceMs: life.sinceMs }
    case 'answered':
      return { ...row, phase: 'ended', via: kept(life.via), outcome: 'ANSWERED', endedMs: now.cloudMs }
    case 'ending':
      return { ...row, phase: 'ended', via: kept(life.loose), outcome: life.outcome, endedMs: now.cloudMs }
    case 'ended':
      return { ...row, phase: 'ended', outcome: life.outcome, endedMs: now.cloudMs }
  }
}

/** The life that goes on after a restart, without a connection. After a reboot, whose clock is another, times out anew. */
export function lifeOf(row: Omit<LifeRow, 'endedMs'>, bootId: string, now: Now): CommandLife {
  const sinceMs = row.bootId === bootId ? Math.min(row.sinceMs, now.monotonicMs) : now.monotonicMs
  const { phase, via, outcome } = row
  if (phase === 'ended') return { phase: 'ending', outcome: outcome ?? 'TIMED_OUT', loose: via }
  if (phase === 'delivered') return { phase: 'delivered', sinceMs }
  if (phase === 'waiting' || via === null) return WAITING
  return { phase, via, attached: false, sinceMs }
}

/** Only a durable session holds its identifiers over a restart. */
function kept(loose: Handshake | null): Handshake | null {
  return loose?.resumable === true ? loose : null
}
