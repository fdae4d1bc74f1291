/**
 * Makes the changes of sessions durable, in order, off the main thread: changes gather while one group is being written.
 *
 * Sessions belong to observers and to QoS 2 handshakes; a device's reading is in the spool. So a disk that refuses
 * sessions.db does not stop the broker: changes stay in memory, are tried again, and health says so. The thread starts with
 * the first change, since most gateways have no durable session at all.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Random } from '../../../shared/random.ts'
import { fullJitterMs } from '../../../shared/retry.ts'
import { workerUrl } from '../../../shared/worker-url.ts'
import type { SessionChange } from './session-tables.ts'
import type { FromSessionWorker, ToSessionWorker } from './session-worker.ts'

const BACKOFF = { baseMs: 100, capMs: 10_000 }

export interface SessionJournalOptions {
  readonly path: string
  /** Changes that may wait; beyond it the journal gives up until the next start. */
  readonly changesMax: number
  /** Why nothing may be written in this run: what is on disk could not be read. */
  readonly unavailable?: string | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export class SessionJournal {
  private readonly options: SessionJournalOptions
  private worker: Worker | null = null
  private pending: SessionChange[] = []
  private inFlight: SessionChange[] | null = null
  private pendingDone = deferred()
  private inFlightDone = deferred()
  private scheduled = false
  private retry: Timer | null = null
  private attempt = 0
  private closeAnswered: (() => void) | null = null
  private state: 'open' | 'given-up' | 'closed' = 'open'
  /** Why changes cannot be stored at present; null when they can. */
  failing: string | null = null

  constructor(options: SessionJournalOptions) {
    this.options = options
    if (options.unavailable === undefined) return
    this.state = 'given-up'
    this.failing = options.unavailable
  }

  append(change: SessionChange): void {
    if (this.state !== 'open') return
    if (this.pending.length >= this.options.changesMax) {
      this.giveUp()
      return
    }
    this.pending.push(change)
    if (this.scheduled || this.inFlight !== null || this.retry !== null) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      this.flush()
    })
  }

  /** Resolves when everything appended so far is on disk, or at once while the disk refuses. Never rejects. */
  durable(): Promise<void> {
    if (this.failing !== null || this.state !== 'open') return Promise.resolve()
    if (this.pending.length > 0) return this.pendingDone.promise
    return this.inFlight === null ? Promise.resolve() : this.inFlightDone.promise
  }

  /** Writes what is left, if the disk lets it, and ends the thread. */
  async close(): Promise<void> {
    if (this.retry !== null && this.inFlight !== null) {
      this.retry.cancel()
      this.retry = null
      this.failing = null
      this.pending = [...this.inFlight, ...this.pending]
      this.inFlight = null
      this.flush()
    }
    await this.durable()
    this.retry?.cancel()
    this.state = 'closed'
    const { worker } = this
    if (worker === null) return
    this.worker = null
    if (this.failing === null) {
      await new Promise<void>((resolve) => {
        this.closeAnswered = resolve
        worker.postMessage({ kind: 'close' } satisfies ToSessionWorker)
      })
    }
    worker.terminate()
  }

  private flush(): void {
    if (this.state !== 'open' || this.inFlight !== null || this.pending.length === 0) return
    this.inFlight = this.pending
    this.inFlightDone = this.pendingDone
    this.pending = []
    this.pendingDone = deferred()
    this.post(this.inFlight)
  }

  private post(changes: SessionChange[]): void {
    this.worker ??= this.startWorker()
    this.worker.postMessage({ kind: 'apply', path: this.options.path, changes } satisfies ToSessionWorker)
  }

  private startWorker(): Worker {
    const worker = new Worker(workerUrl('edge/broker/persistence/session-worker.ts'))
    worker.onmessage = ({ data }: MessageEvent<FromSessionWorker>) => this.answered(data.error)
    worker.onerror = (event) => {
      this.worker = null
      worker.terminate()
      this.answered(`its thread failed: ${event.message}`)
    }
    return worker
  }

  private answered(error: string | null): void {
    this.closeAnswered?.()
    if (this.inFlight === null) return
    if (error === null) {
      if (this.failing !== null) this.options.log.info('MQTT sessions are stored again')
      this.failing = null
      this.attempt = 0
      this.inFlight = null
      this.inFlightDone.resolve()
      this.flush()
      return
    }
    if (this.failing === null) {
      this.options.log.error(
        { path: this.options.path, error },
        'MQTT sessions cannot be stored; they live in memory until they can. Check the disk and its permissions.',
      )
    }
    this.failing = error
    // Nobody waits for a disk that refuses; what was to be stored is tried again, in order.
    this.inFlightDone.resolve()
    this.pendingDone.resolve()
    this.pendingDone = deferred()
    const delayMs = fullJitterMs(this.attempt++, BACKOFF, this.options.random)
    this.retry = this.options.clock.after(delayMs, () => {
      this.retry = null
      if (this.inFlight !== null && this.state === 'open') this.post(this.inFlight)
    })
  }

  private giveUp(): void {
    this.state = 'given-up'
    this.failing = 'too many changes wait for the disk; sessions are kept in memory until the next start'
    this.retry?.cancel()
    this.pending = []
    this.options.log.error({ path: this.options.path, changesMax: this.options.changesMax }, this.failing)
  }
}

interface Deferred {
  readonly promise: Promise<void>
  resolve(): void
}

function deferred(): Deferred {
  let resolve: () => void = () => undefined
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil
  })
  return { promise, resolve }
}
