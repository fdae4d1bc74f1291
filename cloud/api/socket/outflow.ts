/**
 * What happens to an event for a client that reads too slowly, decided without any I/O: it is sent while the bytes
 * waiting for the client stay below the limit; beyond it events are dropped and counted until the client has caught
 * up by half, and then it is told how many it missed. So memory is bounded, and no client ever misses events unawares.
 *
 * That fewer bytes wait need not mean that the client reads: the kernel's buffers grow. So one that was behind is
 * watched until nothing waits for it.
 */

import { assert } from '../../../shared/errors.ts'
import type { Channel } from './channels.ts'

export type OutflowState =
  | { readonly kind: 'current' }
  /** Since then, in monotonic milliseconds, events are dropped. */
  | { readonly kind: 'behind'; readonly sinceMs: number }
  /** It has caught up by half; `sinceMs` is when bytes were last taken, and `waitingBytes` wait since. */
  | { readonly kind: 'recovering'; readonly sinceMs: number; readonly waitingBytes: number }

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
    return this.now.kind !== 'behind' && (waitingBytes === 0 || waitingBytes + bytes <= this.bytesMax)
  }

  /** Notes that an event was not sent. */
  miss(channel: Channel, nowMs: number): void {
    if (this.now.kind !== 'behind') this.now = { kind: 'behind', sinceMs: nowMs }
    this.missed.set(channel, (this.missed.get(channel) ?? 0) + 1)
  }

  /** Whether a client that is behind has caught up when `waitingBytes` wait. */
  hasCaughtUp(waitingBytes: number): boolean {
    return this.now.kind === 'behind' && waitingBytes <= this.bytesMax / 2
  }

  /** What to tell the client before the next event. */
  catchUp(waitingBytes: number, nowMs: number): Missed[] {
    assert(this.now.kind === 'behind', 'only a client that is behind catches up')
    const missed = [...this.missed].map(([channel, count]) => ({ channel, count }))
    this.missed.clear()
    this.now = { kind: 'recovering', sinceMs: nowMs, waitingBytes }
    return missed
  }

  /** Notes that what was sent made so many bytes more wait. */
  queued(bytes: number): void {
    if (this.now.kind !== 'recovering' || bytes <= 0) return
    this.now = { ...this.now, waitingBytes: this.now.waitingBytes + bytes }
  }

  /** Notes what waits now. */
  observe(waitingBytes: number, nowMs: number): void {
    if (this.now.kind !== 'recovering') return
    if (waitingBytes === 0) this.now = CURRENT
    else if (waitingBytes < this.now.waitingBytes) this.now = { kind: 'recovering', sinceMs: nowMs, waitingBytes }
  }

  /** Milliseconds the client has been behind, or has taken nothing since; 0 when it is current. */
  behindMs(nowMs: number): number {
    return this.now.kind === 'current' ? 0 : nowMs - this.now.sinceMs
  }
}
