/**
 * Group commit: while one transaction runs what comes meanwhile gathers for the next one, so that messages that come together
 * share one. Each waits for its own outcome. Transactions that follow close upon one another wait a little for company, since
 * each costs the disk the same however many messages it has.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'

export type Outcome<R> = { readonly result: R } | { readonly error: unknown }

export interface SendQueueOptions<T, R> {
  /** Of one transaction. */
  readonly batchMax: number
  /** Of those that wait; one more is told to try again. */
  readonly waitingMax: number
  /** Outcomes in the order given. What it throws is the outcome of each. */
  readonly write: (items: readonly T[]) => Promise<readonly Outcome<R>[]>
  /** From the begin of one transaction to that of the next; what comes after a longer pause is written at once. Default 5 ms. */
  readonly paceMs?: number | undefined
  readonly clock: Clock
}

interface Waiting<T, R> {
  readonly item: T
  readonly resolve: (result: R) => void
  readonly reject: (error: unknown) => void
}

export class SendQueue<T, R> {
  private readonly options: SendQueueOptions<T, R>
  private waiting: Waiting<T, R>[] = []
  private writing: Promise<void> | null = null
  private beganMs = Number.NEGATIVE_INFINITY
  private batches = 0
  private refused = 0

  constructor(options: SendQueueOptions<T, R>) {
    this.options = options
  }

  /** @throws BusbarError CHAT_BUSY; whatever the outcome is. */
  add(item: T): Promise<R> {
    if (this.waiting.length >= this.options.waitingMax) {
      this.refused++
      return Promise.reject(
        new BusbarError('Too many messages wait to be stored.', {
          code: 'CHAT_BUSY',
          retryable: true,
          hint: 'Send it again in a moment, with the same clientMessageId.',
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject })
      this.writing ??= this.drain()
    })
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.writing !== null) await this.writing
  }

  stats(): { readonly waiting: number; readonly batches: number; readonly refused: number } {
    return { waiting: this.waiting.length, batches: this.batches, refused: this.refused }
  }

  /** Never rejects: the waiting are told. */
  private async drain(): Promise<void> {
    const { batchMax, paceMs = 5, clock } = this.options
    // What comes in this turn of the event loop goes along.
    await Promise.resolve()
    while (this.waiting.length > 0) {
      const pauseMs = this.beganMs + paceMs - clock.monotonicMs()
      if (pauseMs > 0 && this.waiting.length < batchMax) await sleep(clock, pauseMs)
      this.beganMs = clock.monotonicMs()
      const batch = this.waiting.splice(0, batchMax)
      this.batches++
      await this.writeBatch(batch)
    }
    this.writing = null
  }

  private async writeBatch(batch: readonly Waiting<T, R>[]): Promise<void> {
    try {
      const outcomes = await this.options.write(batch.map(({ item }) => item))
      for (const [i, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[i] ?? { error: new Error('a message has no outcome') }
        if ('error' in outcome) reject(outcome.error)
        else resolve(outcome.result)
      }
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
}
