/** The caller's end of the log's thread: one promise per request, none per record. */

import { assert, BusbarError } from '../../../shared/errors.ts'
import { workerUrl } from '../../../shared/worker-url.ts'
import type { FromWorker, LogFailure, LogReplies, LogRequest, ToWorker } from './log-protocol.ts'

interface Waiting {
  resolve(reply: never): void
  reject(error: BusbarError): void
}

export class LogClient {
  private worker: Worker | null = null
  private nextId = 1
  private readonly waiting = new Map<number, Waiting>()
  private death: BusbarError | null = null

  /** Starts the thread. */
  start(): void {
    assert(this.worker === null, 'the thread of the log starts once')
    const worker = new Worker(workerUrl('cloud/bus/embedded/log-worker.ts'))
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.settle(data)
    worker.onerror = (event) => this.die(event.message)
    this.worker = worker
    this.death = null
  }

  /**
   * Sends one request; buffers in `transfer` are handed over.
   * @throws BusbarError BUS_STORE_FAILED (retryable), BUS_STORE_FULL (retryable) or BUS_STORE_LOCKED.
   */
  call<R extends LogRequest>(request: R, transfer: ArrayBuffer[] = []): Promise<LogReplies[R['kind']]> {
    if (this.worker === null || this.death !== null) {
      return Promise.reject(this.death ?? storeError({ code: null, message: 'its thread is not running' }))
    }
    const id = this.nextId++
    const message: ToWorker = { id, request }
    this.worker.postMessage(message, transfer)
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }))
  }

  /** Ends the thread; requests without an answer are rejected. */
  terminate(): void {
    this.worker?.terminate()
    this.worker = null
    this.rejectWaiting(storeError({ code: null, message: 'its thread was ended' }))
  }

  private settle(message: FromWorker): void {
    const waiting = this.waiting.get(message.id)
    this.waiting.delete(message.id)
    if ('failure' in message) waiting?.reject(storeError(message.failure))
    else waiting?.resolve(message.reply as never)
  }

  private die(reason: string): void {
    this.death = storeError({ code: null, message: `its thread failed: ${reason}` })
    this.rejectWaiting(this.death)
  }

  private rejectWaiting(error: BusbarError): void {
    for (const waiting of this.waiting.values()) waiting.reject(error)
    this.waiting.clear()
  }
}

function storeError({ code, message }: LogFailure): BusbarError {
  if (code === 'SQLITE_BUSY') {
    return new BusbarError('the embedded log is in use by another process', {
      code: 'BUS_STORE_LOCKED',
      hint: 'Stop the other busbar-cloud, give this one a directory of its own, or use Kafka for several cores.',
    })
  }
  if (code === 'SQLITE_FULL') {
    return new BusbarError('the disk of the embedded log is full', {
      code: 'BUS_STORE_FULL',
      retryable: true,
      hint: 'Free disk space or lower bus.embedded.bytesMax.',
    })
  }
  return new BusbarError(`the embedded log failed: ${message}`, {
    code: 'BUS_STORE_FAILED',
    retryable: true,
    hint: 'Check the disk that holds bus.embedded.dir, and its permissions.',
  })
}
