/**
 * What the MQTT engine takes for a client's socket: whole, checked frames come out of it, and what the engine writes goes to
 * the connection at once. A write always succeeds, so that a client that does not read holds up nobody but itself; the
 * connection bounds what is queued for it.
 */

import { Readable } from 'node:stream'

export interface EngineStreamOwner {
  /** The engine wants more. */
  engineReads(): void
  engineWrites(bytes: Uint8Array): void
  /** The engine closed the connection. */
  engineCloses(): void
}

export class EngineStream extends Readable {
  readonly writable = true
  readonly owner: EngineStreamOwner

  /** @param queueBytesMax above this `push` returns false. */
  constructor(owner: EngineStreamOwner, queueBytesMax: number) {
    super({ highWaterMark: queueBytesMax })
    this.owner = owner
  }

  write(chunk: Uint8Array | string): true {
    this.owner.engineWrites(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
    return true
  }

  // The engine corks around each packet; the connection gathers packets itself.
  cork(): void {}

  uncork(): void {}

  override _read(): void {
    this.owner.engineReads()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.owner.engineCloses()
    done(error)
  }
}
