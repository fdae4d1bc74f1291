/** Follows topics while any client is subscribed to what comes of them, once for all of them. */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { BatchHandler, Bus, Subscription } from '../../bus/bus.ts'

/** Following goes on for a while after the last subscription, since a page that is loaded again asks at once. */
const LINGER_MS = 30_000

export class LiveTail {
  private readonly bus: Pick<Bus, 'tail'>
  private readonly topics: readonly string[]
  private readonly onBatch: BatchHandler
  private readonly clock: Clock
  private readonly log: Logger
  private subscription: Subscription | null = null
  private wanted = false
  private linger: Timer | null = null
  /** Starts and stops follow one another, never side by side. */
  private turn: Promise<void> = Promise.resolve()

  constructor(options: {
    bus: Pick<Bus, 'tail'>
    topics: readonly string[]
    onBatch: BatchHandler
    clock: Clock
    log: Logger
  }) {
    this.bus = options.bus
    this.topics = options.topics
    this.onBatch = options.onBatch
    this.clock = options.clock
    this.log = options.log
  }

  get running(): boolean {
    return this.subscription !== null
  }

  /** Resolves when everything published from now on will come; rejects when the bus cannot be followed. */
  follow(): Promise<void> {
    this.linger?.cancel()
    this.linger = null
    this.wanted = true
    return this.settle()
  }

  /** Nobody is subscribed any more. */
  rest(): void {
    this.linger ??= this.clock.after(LINGER_MS, () => void this.stop())
  }

  /** Lets go now. Never rejects. */
  async stop(): Promise<void> {
    this.linger?.cancel()
    this.linger = null
    this.wanted = false
    try {
      await this.settle()
    } catch (error) {
      this.log.warn({ error: messageOf(error) }, 'following the bus could not be ended')
    }
  }

  private settle(): Promise<void> {
    // One that failed has told its own caller; the next one tries afresh.
    this.turn = this.turn.catch(() => undefined).then(() => this.change())
    return this.turn
  }

  private async change(): Promise<void> {
    if (this.wanted && this.subscription === null) {
      this.subscription = await this.bus.tail({ topics: this.topics, onBatch: this.onBatch })
    } else if (!this.wanted && this.subscription !== null) {
      const subscription = this.subscription
      this.subscription = null
      await subscription.stop()
    }
  }
}
