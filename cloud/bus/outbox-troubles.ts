/** Which topics the outbox cannot publish at the moment, why, and when each is tried again. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'

/** Waits after a failure that no row is to blame for: the bus or the database is away. */
export const OUTBOX_BACKOFF: BackoffPolicy = { baseMs: 200, capMs: 10_000 }
/** A failure that goes on is logged at first and then about once a minute. */
export const FAILURES_PER_LOG = 12

interface Trouble {
  readonly failures: number
  readonly message: string
  /** Monotonic milliseconds; Infinity while it is being tried. */
  readonly retryAtMs: number
}

export class OutboxTroubles {
  private readonly tools: { readonly clock: Clock; readonly random: Random; readonly log: Logger }
  private readonly troubles = new Map<string, Trouble>()

  constructor(tools: { readonly clock: Clock; readonly random: Random; readonly log: Logger }) {
    this.tools = tools
  }

  /** One of them, or null. */
  get message(): string | null {
    const [trouble] = this.troubles.values()
    return trouble?.message ?? null
  }

  /** Topics that are not to be tried yet. */
  waiting(): string[] {
    const nowMs = this.tools.clock.monotonicMs()
    return [...this.troubles].filter(([, { retryAtMs }]) => retryAtMs > nowMs).map(([topic]) => topic)
  }

  /** How long until one of them may be tried, milliseconds; Infinity when there is none. */
  nextRetryMs(): number {
    const nowMs = this.tools.clock.monotonicMs()
    return Math.min(...[...this.troubles.values()].map(({ retryAtMs }) => Math.max(0, retryAtMs - nowMs)))
  }

  /** How it goes is told by `failed` or `published`. */
  tryingAgain(topic: string): void {
    const trouble = this.troubles.get(topic)
    if (trouble !== undefined) this.troubles.set(topic, { ...trouble, retryAtMs: Number.POSITIVE_INFINITY })
  }

  failed(topic: string, reason: string): void {
    const { clock, random, log } = this.tools
    const failures = this.troubles.get(topic)?.failures ?? 0
    const delayMs = fullJitterMs(failures, OUTBOX_BACKOFF, random)
    this.troubles.delete(topic)
    this.troubles.set(topic, {
      failures: failures + 1,
      message: `${topic}: ${reason}`,
      retryAtMs: clock.monotonicMs() + delayMs,
    })
    if (failures % FAILURES_PER_LOG === 0) {
      log.warn({ topic, error: reason, failures: failures + 1 }, 'outbox cannot be published; it waits')
    }
  }

  published(topic: string): void {
    if (this.troubles.delete(topic)) this.tools.log.info({ topic }, 'outbox is published again')
  }

  /** Nothing of these topics was there when they could be tried: another core has it, or it is gone. */
  nothingLeft(tried: (topic: string) => boolean): void {
    for (const topic of [...this.troubles.keys()]) if (tried(topic)) this.troubles.delete(topic)
  }
}
