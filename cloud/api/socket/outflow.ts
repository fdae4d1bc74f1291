/**
 * What happens to an event for a client that reads too slowly, decided without any I/O: it is sent while the bytes
 * waiting for the client stay below the limit; beyond it events are dropped and counted until the client has caught
 * up by half, and then it is told how many it missed. So memory is bounded, and no client ever misses events unawares.
 */

import { assert } from '../../../shared/errors.ts'
import type { Channel } from './channels.ts'

export type OutflowState =
  | { readonly kind: 'current' }
  /** Since then, in monotonic milliseconds, events are dropped. */
  | { readonly kind: 'behind'; readonly sinceMs: number }

export interface Missed {
  readonly channel: Channel
  readonly count: number
}

const CURRENT: OutflowState = { kind: 'current' }

export class Outflow {
  private readonly bytesMax: number
  private now: OutflowState = CURRENT
  private readonly missed = new Map<Channel, number>()

  /** @param bytesMax bytes that may wait for the client. */
  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get state(): OutflowState {
    return this.now
  }

  /** Whether an event of `bytes` may be sent while `waitingBytes` wait. An empty queue takes an event of any size. */
  admits(bytes: number, waitingBytes: number): boolean {
    return this.now.kind === 'current' && (waitingBytes === 0 || waitingBytes + bytes <= this.bytesMax)
  }

  /** Notes that an event was not sent. */
  miss(channel: Channel, nowMs: number): void {
    if (this.now.kind === 'current') this.now = { kind: 'behind', sinceMs: nowMs }
    this.missed.set(channel, (this.missed.get(channel) ?? 0) + 1)
  }

  /** Whether a client that is behind has caught up when `waitingBytes` wait. */
  hasCaughtUp(waitingBytes: number): boolean {
    return this.now.kind === 'behind' && waitingBytes <= this.bytesMax / 2
  }

  /** What to tell the client before the next event. */
  catchUp(): Missed[] {
    assert(this.now.kind === 'behind', 'only a client that is behind catches up')
    const missed = [...this.missed].map(([channel, count]) => ({ channel, count }))
    this.missed.clear()
    this.now = CURRENT
    return missed
  }

  /** Milliseconds the client has been behind, 0 when it is not. */
  behindMs(nowMs: number): number {
    return this.now.kind === 'behind' ? nowMs - this.now.sinceMs : 0
  }
}
