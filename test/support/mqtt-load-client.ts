/** One client of the load generator: a raw socket that keeps a window of QoS 1 messages in flight. */

import { buildFrameRing, connectPacket, type FrameRing } from './mqtt-load-frames.ts'

/** Packet identifiers are 16 bits and never 0. */
export const SLOTS_MAX = 65_535
const PACKET_BYTES = 4
const CONNACK = 0x20
const PUBACK = 0x40

export interface LoadClientOptions {
  readonly host: string
  readonly port: number
  readonly clientId: string
  readonly username?: string
  readonly password?: string
  readonly topic: string
  /** Payloads used in turn. */
  readonly payloads: readonly string[]
  /** Frames in the ring, at least the messages in flight. */
  readonly slots: number
  /** Every payload carries a counter and its time of sending. */
  readonly marked: boolean
  /** Called with the latencies of acknowledged messages. */
  readonly onAcked: (client: LoadClient, latencyMs: number) => void
  /** Called once after all acknowledgements of one read have been counted. */
  readonly onRoom: (client: LoadClient) => void
  readonly onClosed: (client: LoadClient) => void
}

export class LoadClient {
  /** Messages given to this client so far; their counters are 0 to sent - 1. */
  sent = 0
  acked = 0
  connected = false
  private readonly options: LoadClientOptions
  private socket: Bun.Socket | null = null
  private readonly ring: FrameRing
  private readonly waiting: Uint8Array
  private readonly resent: Uint8Array
  private readonly sentAtMs: Float64Array
  /** Counter of the first message that is not wholly written, and how much of it is. */
  private flushFrom = 0
  private flushOffset = 0
  private oldestWaiting = 0
  private partial: Buffer | null = null

  constructor(options: LoadClientOptions) {
    this.options = options
    this.ring = buildFrameRing(options)
    this.waiting = new Uint8Array(options.slots)
    this.resent = new Uint8Array(options.slots)
    this.sentAtMs = new Float64Array(options.slots)
  }

  get payloadBytesMean(): number {
    return this.ring.payloadBytesMean
  }

  get inFlight(): number {
    return this.sent - this.acked
  }

  /** Resolves when the broker has admitted the client; what was not acknowledged before is sent again. */
  connect(): Promise<void> {
    const { host, port } = this.options
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        this.socket = null
        reject(error)
      }
      Bun.connect({
        hostname: host,
        port,
        socket: {
          open: (socket) => {
            this.socket = socket
            socket.setNoDelay(true)
            socket.write(connectPacket(this.options))
          },
          data: (_socket, chunk) => {
            if (this.connected) return this.onData(chunk)
            if (chunk[0] !== CONNACK || chunk[3] !== 0) return fail(new Error(`refused: ${chunk.toString('hex')}`))
            this.connected = true
            this.resend()
            resolve()
            if (chunk.length > PACKET_BYTES) this.onData(chunk.subarray(PACKET_BYTES))
          },
          drain: () => this.flush(),
          close: () => {
            const was = this.connected
            this.connected = false
            this.socket = null
            this.partial = null
            if (was) this.options.onClosed(this)
            else fail(new Error('closed before it was admitted'))
          },
          error: () => undefined,
          connectError: (_socket, error) => fail(error),
        },
      }).catch(fail)
    })
  }

  /** Sends up to `count` messages, fewer when the ring is full; returns how many. `atMs` is when they were due. */
  send(count: number, atMs: number): number {
    const { slots } = this.ring
    let taken = 0
    const sentAtUs = this.options.marked ? Math.round((performance.timeOrigin + atMs) * 1000) : 0
    while (taken < count) {
      const slot = this.sent % slots
      if (this.waiting[slot] === 1) break
      if (this.resent[slot] === 1) {
        this.ring.setDup(slot, false)
        this.resent[slot] = 0
      }
      if (this.options.marked) this.ring.mark(slot, this.sent, sentAtUs)
      this.waiting[slot] = 1
      this.sentAtMs[slot] = atMs
      this.sent++
      taken++
    }
    if (taken > 0) this.flush()
    return taken
  }

  /** Counters of messages sent and not acknowledged, ascending. */
  unacknowledged(): number[] {
    const { slots } = this.ring
    const counters: number[] = []
    for (let counter = Math.max(0, this.sent - slots); counter < this.sent; counter++) {
      if (this.waiting[counter % slots] === 1) counters.push(counter)
    }
    return counters
  }

  close(): void {
    this.connected = false
    this.socket?.end()
    this.socket = null
  }

  private flush(): void {
    const { socket } = this
    if (socket === null || !this.connected) return
    const { bytes, starts, slots } = this.ring
    while (this.flushFrom < this.sent) {
      const firstSlot = this.flushFrom % slots
      const frames = Math.min(this.sent - this.flushFrom, slots - firstSlot)
      const begin = (starts[firstSlot] ?? 0) + this.flushOffset
      const end = starts[firstSlot + frames] ?? 0
      const written = Math.max(0, socket.write(bytes.subarray(begin, end)))
      if (written === end - begin) {
        this.flushFrom += frames
        this.flushOffset = 0
        continue
      }
      const reached = begin + written
      let slot = firstSlot
      while ((starts[slot + 1] ?? 0) <= reached) slot++
      this.flushFrom += slot - firstSlot
      this.flushOffset = reached - (starts[slot] ?? 0)
      return
    }
  }

  private resend(): void {
    const { slots } = this.ring
    while (this.oldestWaiting < this.sent && this.waiting[this.oldestWaiting % slots] === 0) this.oldestWaiting++
    for (let counter = this.oldestWaiting; counter < this.sent; counter++) {
      // Only what had reached the broker before can be a duplicate there.
      if (counter >= this.flushFrom && !(counter === this.flushFrom && this.flushOffset > 0)) break
      this.ring.setDup(counter % slots, true)
      this.resent[counter % slots] = 1
    }
    this.flushFrom = this.oldestWaiting
    this.flushOffset = 0
    this.flush()
  }

  private onData(chunk: Buffer): void {
    let bytes = chunk
    if (this.partial !== null) {
      bytes = Buffer.concat([this.partial, chunk])
      this.partial = null
    }
    const nowMs = performance.now()
    let at = 0
    for (; at + PACKET_BYTES <= bytes.length; at += PACKET_BYTES) {
      if (bytes[at] !== PUBACK) throw new Error(`unexpected packet ${bytes[at]?.toString(16)} from the broker`)
      const slot = ((bytes[at + 2] ?? 0) << 8) + (bytes[at + 3] ?? 0) - 1
      if (this.waiting[slot] !== 1) continue
      this.waiting[slot] = 0
      this.acked++
      this.options.onAcked(this, nowMs - (this.sentAtMs[slot] ?? 0))
    }
    if (at < bytes.length) this.partial = Buffer.from(bytes.subarray(at))
    // Keeps what a reconnection would send again short.
    while (this.oldestWaiting < this.sent && this.waiting[this.oldestWaiting % this.ring.slots] === 0) {
      this.oldestWaiting++
    }
    this.options.onRoom(this)
  }
}
