/** How the brokers answer the producer: the breaker, what failed, and what health says of it. */

import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import type { BusStats, DependencyHealth } from '../bus.ts'
import { nextStepAfter } from './advice.ts'
import type { KafkaBusOptions } from './kafka-options.ts'
import { describeFailure, nobodyAnswered, type ProduceOutcome } from './produce-error.ts'

/** Requests in a row without an answer that open the breaker, and how long it stays open before one may try. */
const BREAKER_FAILURES = 5
const BREAKER_OPEN_MS = 1_000
/** How often the brokers are asked when nothing else was, so that health is true of an idle system too. */
export const PROBE_PERIOD_MS = 5_000

export class ProducerHealth {
  readonly failures: Record<string, number> = {}
  private readonly options: Pick<KafkaBusOptions, 'brokers' | 'clock' | 'log'>
  private readonly breaker = circuitBreaker(handleWhen(nobodyAnswered), {
    halfOpenAfter: BREAKER_OPEN_MS,
    breaker: new ConsecutiveBreaker(BREAKER_FAILURES),
  })
  private lastAnswerMs: number | null = null
  private lastFailureText: string | null = 'no broker has answered yet'
  private retrying = 0

  constructor(options: Pick<KafkaBusOptions, 'brokers' | 'clock' | 'log'>) {
    this.options = options
    const { log } = options
    this.breaker.onBreak(() => log.warn({ failure: this.lastFailure }, 'kafka does not answer: breaker open'))
    this.breaker.onReset(() => log.info('kafka answers again: breaker closed'))
  }

  get lastFailure(): string | null {
    return this.lastFailureText
  }

  get breakerState(): BusStats['breaker'] {
    const { state } = this.breaker
    if (state === CircuitState.Closed) return 'closed'
    return state === CircuitState.HalfOpen ? 'half-open' : 'open'
  }

  /** @throws BrokenCircuitError while the breaker is open */
  throughBreaker<T>(ask: () => Promise<T>): Promise<T> {
    return this.breaker.execute(ask)
  }

  answered(): void {
    this.lastAnswerMs = this.options.clock.monotonicMs()
  }

  failed(outcome: ProduceOutcome, failure: string): void {
    this.lastFailureText = failure
    this.count(outcome)
  }

  count(cause: string): void {
    this.failures[cause] = (this.failures[cause] ?? 0) + 1
  }

  /** Something did not work at once and is tried again until `recovered`, or until `gaveUp`. */
  retries(): void {
    this.retrying++
  }

  gaveUp(): void {
    this.retrying--
  }

  recovered(hadRetried: boolean): void {
    if (hadRetried) this.retrying--
    if (this.retrying === 0) this.lastFailureText = null
  }

  /** Asks by `ping` unless an answer came a moment ago; never rejects. */
  async probe(ping: () => Promise<void>): Promise<void> {
    if (this.lastAnswerMs !== null && this.options.clock.monotonicMs() - this.lastAnswerMs < PROBE_PERIOD_MS / 2) return
    try {
      await this.throughBreaker(ping)
      this.answered()
      this.recovered(false)
    } catch (error) {
      if (!(error instanceof BrokenCircuitError)) this.failed('away', describeFailure(error))
    }
  }

  health(): DependencyHealth {
    const { lastFailure } = this
    const failure = lastFailure ?? 'the breaker is open'
    const detail = `Kafka: ${failure.replace(/\.$/, '')}. ${nextStepAfter(failure, this.options.brokers)}.`
    if (this.breaker.state !== CircuitState.Closed || this.lastAnswerMs === null) return { state: 'down', detail }
    if (lastFailure !== null) return { state: 'degraded', detail }
    return { state: 'up' }
  }
}
