/**
 * When to commit what has gathered. Committing as soon as the last commit is done serves a few devices best; under many
 * it makes thousands of tiny blocks a second, and every block costs an fsync here, a message on the way and a write in the
 * cloud. So under load a commit waits a little, but never for nobody: devices that wait for their acknowledgements send
 * nothing more until they get them, and once as many records have gathered as were outstanding the last time, nothing
 * more is to be expected.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { ACK_DELAY_MS, PACE_BUSY_MS, PACE_BUSY_RECORDS, PACE_BYTES, PACE_LIGHT_MS, PACE_RECORDS_MIN } from './limits.ts'

export class CommitSchedule {
  private readonly clock: Clock
  private readonly begin: () => void
  /** Records that were outstanding, in flight and gathered, when the last commit was done. */
  private outstanding = 0
  private scheduled = false
  private timer: Timer | null = null
  private ackTimer: Timer | null = null

  /** @param begin commits what has gathered, if no commit is in flight. */
  constructor(clock: Clock, begin: () => void) {
    this.clock = clock
    this.begin = begin
  }

  /** To be called while no commit is in flight: begins one at the end of this turn, or a little later. */
  consider(gathered: number, gatheredBytes: number): void {
    if (this.scheduled) return
    if (this.outstanding < PACE_RECORDS_MIN || gathered >= this.outstanding || gatheredBytes >= PACE_BYTES) {
      this.scheduled = true
      setImmediate(() => {
        this.scheduled = false
        this.begin()
      })
    } else {
      this.timer ??= this.clock.after(this.outstanding < PACE_BUSY_RECORDS ? PACE_LIGHT_MS : PACE_BUSY_MS, () => {
        this.timer = null
        this.begin()
      })
    }
  }

  /** Acknowledgements of the cloud wait for a commit to travel with, but not for long. */
  considerAcks(): void {
    this.ackTimer ??= this.clock.after(ACK_DELAY_MS, () => {
      this.ackTimer = null
      this.begin()
    })
  }

  /** A commit began with everything that had gathered. */
  begun(): void {
    this.timer?.cancel()
    this.timer = null
    this.ackTimer?.cancel()
    this.ackTimer = null
  }

  /** @param committed records of the commit that is done, at least one. @param gathered records that came meanwhile. */
  done(committed: number, gathered: number): void {
    this.outstanding = committed + gathered
  }
}
