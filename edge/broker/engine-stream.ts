/**
 * What the MQTT engine takes for a client's socket: whole, checked frames come out of it, and what the engine writes goes to
 * the connection at once. A write always succeeds, so that a client that does not read holds up nobody but itself; the
 * connection bounds what is queued for it.
 *
 * The engine waits for the disk once per `read`, so a read gives everything there is: a stream's own queue would give the
 * frames one by one, and each would wait for a commit of its own.
 */

import { Readable } from 'node:stream'

export interface EngineStreamOwner {
  /** The engine took everything and wants more. */
  engineReads(): void
  /** Bytes for the client. */
  send(bytes: Uint8Array): void
  /** The engine closed the connection. */
  engineCloses(): void
}

export class EngineStream extends Readable {
  readonly writable = true
  readonly owner: EngineStreamOwner
  private readonly queueBytesMax: number
  /** Runs of frames that lie side by side in what was received. */
  private runs: { readonly bytes: Buffer; readonly start: number; end: number }[] = []
  private queuedBytes = 0
  private announced = false

  constructor(owner: EngineStreamOwner, queueBytesMax: number) {
    super()
    this.owner = owner
    this.queueBytesMax = queueBytesMax
  }

  /** Queues the frame at `[start, end)` for the engine; false when that is enough for now. */
  give(bytes: Buffer, start: number, end: number): boolean {
    const last = this.runs[this.runs.length - 1]
    if (last !== undefined && last.bytes === bytes && last.end === start) last.end = end
    else this.runs.push({ bytes, start, end })
    this.queuedBytes += end - start
    if (!this.announced) {
      this.announced = true
      // After the chunk at hand, so that all of its frames are there.
      queueMicrotask(() => this.emit('readable'))
    }
    return this.queuedBytes < this.queueBytesMax
  }

  /** @param size 0 when the stream machinery only asks for more to be made ready. */
  override read(size?: number): Buffer | null {
    if (size === 0) return null
    this.announced = false
    const { runs } = this
    if (runs.length === 0) return null
    this.runs = []
    this.queuedBytes = 0
    const parts = runs.map(({ bytes, start, end }) => bytes.subarray(start, end))
    this.owner.engineReads()
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  }

  write(chunk: Uint8Array | string): true {
    if (typeof chunk === 'string') this.owner.send(Buffer.from(chunk))
    else if (chunk instanceof Uint8Array) this.owner.send(chunk)
    // It could not encode its answer to what this client sent: that ends this client, and nothing else.
    else this.destroy(new Error('the answer cannot be encoded'))
    return true
  }

  // The engine corks around each packet; the connection gathers packets itself.
  cork(): void {}

  uncork(): void {}

  override _read(): void {}

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.runs = []
    this.owner.engineCloses()
    done(error)
  }
}
