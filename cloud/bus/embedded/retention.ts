/** Deletes old records from time to time, in small steps between which commits get their turn. */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { LogClient } from './log-client.ts'

/** Pause between two steps of one round. */
const STEP_PAUSE_MS = 20

export interface RetentionOptions {
  readonly store: LogClient
  /** Pause between two rounds, milliseconds. */
  readonly periodMs: number
  readonly clock: Clock
  readonly log: Logger
}

export class Retention {
  private readonly options: RetentionOptions
  private timer: Timer | null = null
  private running = false

  constructor(options: RetentionOptions) {
    this.options = options
  }

  start(): void {
    this.running = true
    this.schedule(this.options.periodMs)
  }

  stop(): void {
    this.running = false
    this.timer?.cancel()
  }

  private schedule(delayMs: number): void {
    this.timer = this.options.clock.after(delayMs, () => void this.step())
  }

  private async step(): Promise<void> {
    const { store, clock, log, periodMs } = this.options
    let more = false
    try {
      const result = await store.call({ kind: 'retain', nowMs: clock.wallMs() })
      more = result.more
      if (result.evictedRecords > 0) {
        log.warn({ records: result.evictedRecords }, 'embedded log is full: oldest records deleted')
      }
    } catch (error) {
      if (this.running) log.error({ error: messageOf(error) }, 'embedded log cannot delete old records')
    }
    if (this.running) this.schedule(more ? STEP_PAUSE_MS : periodMs)
  }
}
