/** How many frames of one socket may be refused: so many within a minute. Pure. */

import { MINUTE_MS } from '../../../shared/durations.ts'

export class RefusalLimit {
  private readonly max: number
  private sinceMs = Number.NEGATIVE_INFINITY
  private count = 0

  constructor(max: number) {
    this.max = max
  }

  /** Counts one. False when it is one too many. @param nowMs monotonic milliseconds. */
  admits(nowMs: number): boolean {
    if (nowMs - this.sinceMs >= MINUTE_MS) {
      this.sinceMs = nowMs
      this.count = 0
    }
    return ++this.count <= this.max
  }
}
