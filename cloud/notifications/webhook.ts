/**
 * Posts notifications to the one URL that the operator named, such as that of a push or e-mail system.
 *
 * A 2xx answer says that the notification is the receiver's from here on. Everything else is told apart by whose fault it
 * is: what any notification would meet (nobody there, no answer in time, 3xx, 5xx, 408, 429) is WEBHOOK_AWAY, retryable; what
 * this one alone meets (any other 4xx) is WEBHOOK_REFUSED. After several of the former in a row nothing is posted for a
 * while, and then one is let through to see. Only the origin of the URL is told to anyone, since its path may be a secret.
 */

import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { VERSION } from '../../shared/version.ts'
import type { DependencyHealth } from '../bus/bus.ts'
import { type Answer, judge } from './webhook-answer.ts'
import { type Signable, signatureHeaders, signingKey } from './webhook-signature.ts'

/** Of an answer so much is read, so that its connection can be used again; with more the connection is cut. */
const ANSWER_BYTES_MAX = 16 * 1024

/** As the global `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface WebhookOptions {
  readonly url: string
  readonly secret: string
  readonly timeoutMs: number
  readonly breakerFailures: number
  readonly breakerOpenMs: number
  readonly fetch: Fetch
  readonly clock: Clock
  readonly log: Logger
}

export interface WebhookStats {
  readonly delivered: number
  /** Posts that were not, by cause: `status 503`, `TIMEOUT`, `NETWORK`. */
  readonly failures: Readonly<Record<string, number>>
  readonly breaker: 'closed' | 'open' | 'half-open'
}

export class Webhook {
  private readonly options: WebhookOptions
  private readonly origin: string
  private readonly key: Uint8Array
  private readonly breaker
  /** Monotonic; the webhook asked not to be asked before. */
  private notBeforeMs = 0
  private delivered = 0
  private readonly failures: Record<string, number> = {}
  /** Why it is away; null since it answered. */
  private lastFailure: string | null = null

  constructor(options: WebhookOptions) {
    const { url, secret, breakerFailures, breakerOpenMs, log } = options
    this.options = options
    this.origin = URL.canParse(url) ? new URL(url).origin : 'the webhook'
    this.key = signingKey(secret)
    this.breaker = circuitBreaker(
      handleWhen((error) => error instanceof BusbarError && error.code === 'WEBHOOK_AWAY'),
      { halfOpenAfter: breakerOpenMs, breaker: new ConsecutiveBreaker(breakerFailures) },
    )
    this.breaker.onBreak(() => log.warn({ webhook: this.origin, failure: this.lastFailure }, 'webhook breaker open'))
    this.breaker.onReset(() => log.info({ webhook: this.origin }, 'webhook answers again: breaker closed'))
  }

  /**
   * Resolves when the receiver has it. `letGo` ends the waiting for an answer; the receiver may have it then.
   * @throws BusbarError WEBHOOK_AWAY (retryable), WEBHOOK_REFUSED or WEBHOOK_STOPPED (retryable)
   */
  async post(message: Signable, letGo: AbortSignal): Promise<void> {
    if (letGo.aborted) throw webhookStopped()
    const waitMs = this.notBeforeMs - this.options.clock.monotonicMs()
    if (waitMs > 0) throw this.away(`asked us to wait for ${Math.ceil(waitMs / 1_000)} s more`)
    let answer: Answer
    try {
      answer = await this.breaker.execute(() => this.ask(message, letGo))
    } catch (error) {
      if (error instanceof BrokenCircuitError)
        throw this.away(`${this.lastFailure ?? 'was away'} (breaker open)`, error)
      throw error
    }
    this.lastFailure = null
    if (answer.kind === 'delivered') {
      this.delivered++
      return
    }
    throw new BusbarError(`${this.origin} ${answer.why} to notification ${message.id}`, {
      code: 'WEBHOOK_REFUSED',
      hint: 'see in the log of the receiver why it refuses it; a 401, 403 or 404 is more likely a matter of its settings',
    })
  }

  health(): DependencyHealth {
    const waiting = this.notBeforeMs > this.options.clock.monotonicMs()
    if (this.lastFailure === null && !waiting && this.breaker.state === CircuitState.Closed) return { state: 'up' }
    const why = this.lastFailure ?? 'asked us to wait'
    const detail = `notifications wait: ${this.origin} ${why}. Check that it runs and can be reached.`
    return { state: 'degraded', detail }
  }

  stats(): WebhookStats {
    return { delivered: this.delivered, failures: { ...this.failures }, breaker: breakerName(this.breaker.state) }
  }

  /** One request, and what its answer means. @throws BusbarError WEBHOOK_AWAY or WEBHOOK_STOPPED */
  private async ask(message: Signable, letGo: AbortSignal): Promise<Answer> {
    const { url, fetch, clock, timeoutMs } = this.options
    const timeout = new AbortController()
    const timer = clock.after(timeoutMs, () => timeout.abort())
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': `busbar/${VERSION}`,
          ...signatureHeaders(message, clock.wallMs(), this.key),
        },
        body: message.body,
        redirect: 'manual',
        signal: AbortSignal.any([timeout.signal, letGo]),
      })
      const answer = judge(response.status, response.headers.get('retry-after'), clock.wallMs())
      await skipBody(response)
      if (answer.kind !== 'delivered') this.count(`status ${response.status}`)
      if (answer.kind !== 'away') return answer
      this.notBeforeMs = Math.max(this.notBeforeMs, clock.monotonicMs() + answer.retryAfterMs)
      throw this.failed(answer.why)
    } catch (error) {
      if (error instanceof BusbarError) throw error
      if (letGo.aborted) throw webhookStopped()
      this.count(timeout.signal.aborted ? 'TIMEOUT' : 'NETWORK')
      if (timeout.signal.aborted) throw this.failed(`does not answer within ${timeoutMs} ms`)
      throw this.failed(`cannot be reached: ${networkFailure(error)}`)
    } finally {
      timer.cancel()
    }
  }

  private count(cause: string): void {
    this.failures[cause] = (this.failures[cause] ?? 0) + 1
  }

  private failed(why: string): BusbarError {
    this.lastFailure = why
    return this.away(why)
  }

  private away(why: string, cause?: unknown): BusbarError {
    return new BusbarError(`${this.origin} ${why}`, {
      code: 'WEBHOOK_AWAY',
      retryable: true,
      hint: 'check that what notifications.webhook.url names runs and can be reached from here',
      cause,
    })
  }
}

export function webhookStopped(): BusbarError {
  return new BusbarError('posting notifications stops', { code: 'WEBHOOK_STOPPED', retryable: true })
}

/** Reads the body away, a bounded part of it; that it cannot be read changes nothing about the status. */
async function skipBody(response: Response): Promise<void> {
  const reader = response.body?.getReader()
  if (reader === undefined) return
  try {
    for (let bytes = 0; bytes <= ANSWER_BYTES_MAX; ) {
      const { done, value } = await reader.read()
      if (done) return
      bytes += value.length
    }
    await reader.cancel()
  } catch {
    // The answer was its status.
  }
}

/** The runtime's code, where it has one: its message may hold the URL. */
function networkFailure(error: unknown): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' ? code : messageOf(error).replaceAll(/https?:\S+/g, 'its URL')
}

function breakerName(state: CircuitState): WebhookStats['breaker'] {
  if (state === CircuitState.Closed) return 'closed'
  return state === CircuitState.HalfOpen ? 'half-open' : 'open'
}
