/**
 * The front's end of the spool's thread: requests and their replies, and starting the thread again when it dies. What
 * was asked of a thread that died fails; whether it was done is not known.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'
import { workerUrl } from '../../shared/worker-url.ts'
import type { Instant } from './boot-time.ts'
import { failureOf, threadLost } from './failures.ts'
import type { StoreOptions, StoreReply, StoreRequest } from './messages.ts'

type WithoutEnvelope<T> = T extends unknown ? Omit<T, 'id' | 'now'> : never
export type Ask = WithoutEnvelope<StoreRequest>
export type Answer = (reply: StoreReply) => void

export interface StoreThreadOptions {
  readonly store: StoreOptions
  readonly now: () => Instant
  readonly clock: Clock
  readonly random: Random
  /** The thread died; it will be started again. Called after every open request has failed. */
  readonly onDown: (reason: string) => void
  /** The thread runs again and has opened the store. */
  readonly onUp: (reply: StoreReply) => void
}

const RESTART_BACKOFF: BackoffPolicy = { baseMs: 100, capMs: 5000 }

export class StoreThread {
  private readonly options: StoreThreadOptions
  private worker: Worker | null = null
  private readonly waiting = new Map<number, Answer>()
  private nextId = 1
  private attempt = 0
  private restart: Timer | null = null
  private isOpen = false

  constructor(options: StoreThreadOptions) {
    this.options = options
  }

  /** False while the thread is being started again; requests fail at once then. */
  get isUp(): boolean {
    return this.isOpen
  }

  /** Starts the thread and opens the store; resolves with the reply, a failure included. */
  start(): Promise<StoreReply> {
    this.launch()
    return new Promise((resolve) => {
      this.ask({ kind: 'open', options: this.options.store }, [], (reply) => {
        this.isOpen = reply.failure === null
        resolve(reply)
      })
    })
  }

  /** `answer` is called exactly once, never synchronously while the thread is up. */
  ask(request: Ask, transfer: ArrayBuffer[], answer: Answer): void {
    const { worker } = this
    const id = this.nextId++
    if (worker === null) {
      answer(lost(id, 'it is not running'))
      return
    }
    this.waiting.set(id, answer)
    worker.postMessage({ ...request, id, now: this.options.now() }, { transfer })
  }

  /** Ends the thread; open requests fail. It is not started again. */
  end(): void {
    this.restart?.cancel()
    this.restart = null
    this.abandon('it was ended')
  }

  private launch(): void {
    const worker = new Worker(workerUrl('edge/spool/worker.ts'))
    this.worker = worker
    worker.onmessage = ({ data }: { data: StoreReply }) => {
      const answer = this.waiting.get(data.id)
      this.waiting.delete(data.id)
      answer?.(data)
    }
    worker.onerror = (event) => {
      event.preventDefault()
      this.died(worker, event.message)
    }
    worker.addEventListener('close', () => this.died(worker, 'it ended by itself'))
  }

  private died(worker: Worker, reason: string): void {
    if (worker !== this.worker) return
    const wasOpen = this.isOpen
    this.abandon(reason)
    // A thread that cannot even open the store at the start is the starter's business.
    if (!wasOpen && this.attempt === 0) return
    if (wasOpen) this.options.onDown(reason)
    this.scheduleRestart()
  }

  private scheduleRestart(): void {
    const { clock, random } = this.options
    this.restart = clock.after(fullJitterMs(this.attempt++, RESTART_BACKOFF, random), () => {
      this.restart = null
      void this.start().then((reply) => {
        if (reply.failure === null) {
          this.attempt = 0
          this.options.onUp(reply)
        } else if (this.worker !== null) {
          this.abandon('the store could not be opened')
          this.scheduleRestart()
        }
      })
    })
  }

  private abandon(reason: string): void {
    const { worker } = this
    this.worker = null
    this.isOpen = false
    worker?.terminate()
    const answers = [...this.waiting]
    this.waiting.clear()
    for (const [id, answer] of answers) answer(lost(id, reason))
  }
}

function lost(id: number, reason: string): StoreReply {
  return { id, report: null, failure: failureOf(threadLost(reason)) }
}
