/**
 * Plays a substation's past at high speed until it has caught up with the present, then goes on in real time. A device
 * whose broker is slow falls behind and catches up; none of its readings is left out.
 */

import type { Clock, Timer } from '../../shared/clock.ts'

const TICK_MS = 25

/** A device client, or whoever else reads at a given time. */
export interface Player {
  /** False when it cannot take the reading now; it is offered again. */
  publishReading(timeMs: number): boolean
}

export interface PlaybackOptions {
  readonly clients: readonly Player[]
  readonly clock: Clock
  /** Simulated time at the start, Unix milliseconds. */
  readonly fromMs: number
  /** Simulated milliseconds per real one while catching up. */
  readonly speed: number
  /** Simulated time between readings of one device while catching up. */
  readonly intervalMs: number
  /** Real time between readings of one device in the present. */
  readonly liveIntervalMs: number
}

export class Playback {
  private readonly options: PlaybackOptions
  private readonly nextDue: number[]
  private timer: Timer | null = null
  private simulatedMs: number
  private tickedMs = 0

  constructor(options: PlaybackOptions) {
    this.options = options
    this.simulatedMs = options.fromMs
    this.nextDue = options.clients.map(() => options.fromMs)
  }

  /** Simulated time now, Unix milliseconds; never later than the wall clock. */
  get nowMs(): number {
    return this.simulatedMs
  }

  get caughtUp(): boolean {
    return this.simulatedMs >= this.options.clock.wallMs() - this.options.intervalMs
  }

  start(): void {
    if (this.timer !== null) return
    const { clock } = this.options
    this.tickedMs = clock.monotonicMs()
    this.timer = clock.every(TICK_MS, () => this.tick())
  }

  /** No further readings; `start` goes on where this left off. */
  stop(): void {
    this.timer?.cancel()
    this.timer = null
  }

  private tick(): void {
    const { clients, clock, speed, intervalMs, liveIntervalMs } = this.options
    const now = clock.monotonicMs()
    this.simulatedMs = Math.min(clock.wallMs(), this.simulatedMs + (now - this.tickedMs) * speed)
    this.tickedMs = now
    const stepMs = this.caughtUp ? liveIntervalMs : intervalMs
    clients.forEach((client, index) => {
      let due = this.nextDue[index] ?? this.simulatedMs
      while (due <= this.simulatedMs && client.publishReading(due)) due += stepMs
      this.nextDue[index] = due
    })
  }
}
