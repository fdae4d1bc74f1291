/**
 * Splits a byte stream into MQTT frames before anyone parses them. It looks at headers only, so a frame that is too
 * large is known after at most five bytes and nothing of its body is ever gathered.
 *
 * A frame found is described by fields rather than an object: this runs for every message of every device.
 */

export type FrameViolation = 'first-packet-not-connect' | 'frame-too-large' | 'malformed-length' | 'malformed-packet'

/** First byte of CONNECT: type 1, reserved flags zero [MQTT-2.2.2-1]. */
const CONNECT = 0x10
/** Type byte and four bytes of remaining length. */
const HEADER_BYTES_MAX = 5
const PARTIAL_BYTES_MIN = 1024
const EMPTY = Buffer.alloc(0)

/** PUBACK, PUBREC, PUBREL and PUBCOMP, by packet type: a client that watches much sends many. */
export function isAcknowledgement(type: number): boolean {
  return type >= 4 && type <= 7
}

export class FrameGuard {
  /** Largest frame accepted, header included, bytes; may change between frames. */
  limitBytes: number
  /** The bytes in which the current frame lies. */
  bytes: Buffer = EMPTY
  /** Where the frame's first byte, its body, and the byte after it are in `bytes`. */
  start = 0
  body = 0
  end = 0
  /** Set once, when the stream cannot be followed further. */
  violation: FrameViolation | null = null
  /** Length of the frame that was refused as too large, bytes. */
  declaredBytes = 0

  private chunk: Buffer = EMPTY
  private offset = 0
  private partial: Buffer | null = null
  private partialLength = 0
  private connectSeen = false

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  /** Bytes kept of frames that are not complete. */
  get bufferedBytes(): number {
    return this.partialLength
  }

  /** Adds what was received; what an earlier chunk still holds comes first. */
  push(chunk: Buffer): void {
    this.chunk = this.offset < this.chunk.length ? Buffer.concat([this.chunk.subarray(this.offset), chunk]) : chunk
    this.offset = 0
  }

  /** Finds the next whole frame; false when there is none yet, or after a violation. */
  next(): boolean {
    if (this.violation !== null) return false
    if (this.partial !== null) return this.completePartial()
    if (this.offset >= this.chunk.length) {
      this.chunk = EMPTY
      this.offset = 0
      return false
    }
    const header = this.readHeader(this.chunk, this.offset, this.chunk.length)
    if (this.violation !== null) return false
    if (header === 0 || this.offset + this.declaredBytes > this.chunk.length) {
      this.keepPartial()
      return false
    }
    this.bytes = this.chunk
    this.start = this.offset
    this.body = this.offset + header
    this.offset += this.declaredBytes
    this.end = this.offset
    return true
  }

  /** Length of the header at `from`, with `declaredBytes` set; 0 when it is not complete. */
  private readHeader(bytes: Buffer, from: number, to: number): number {
    const first = bytes[from] as number
    if (!this.connectSeen) {
      if (first !== CONNECT) return this.refuse('first-packet-not-connect')
    } else if (first < CONNECT || first >= 0xf0) {
      return this.refuse('malformed-packet')
    }
    let length = 0
    let scale = 1
    for (let i = 1; i < HEADER_BYTES_MAX; i++) {
      if (from + i >= to) return 0
      const byte = bytes[from + i] as number
      length += (byte & 0x7f) * scale
      if (byte < 0x80) {
        this.connectSeen = true
        this.declaredBytes = i + 1 + length
        if (this.declaredBytes > this.limitBytes) return this.refuse('frame-too-large')
        return i + 1
      }
      scale *= 0x80
    }
    return this.refuse('malformed-length')
  }

  private refuse(violation: FrameViolation): 0 {
    this.violation = violation
    this.chunk = EMPTY
    this.partial = null
    this.partialLength = 0
    return 0
  }

  /** Copies the unfinished rest, so that it does not hold on to the whole chunk. */
  private keepPartial(): void {
    const rest = this.chunk.length - this.offset
    this.partial = Buffer.allocUnsafeSlow(Math.max(rest, Math.min(this.limitBytes, PARTIAL_BYTES_MIN)))
    this.chunk.copy(this.partial, 0, this.offset)
    this.partialLength = rest
    this.chunk = EMPTY
    this.offset = 0
  }

  private completePartial(): boolean {
    let header = this.readHeader(this.partial as Buffer, 0, this.partialLength)
    while (header === 0 && this.violation === null && this.offset < this.chunk.length) {
      this.takeIntoPartial(1)
      header = this.readHeader(this.partial as Buffer, 0, this.partialLength)
    }
    if (header === 0) return false
    this.takeIntoPartial(Math.min(this.declaredBytes - this.partialLength, this.chunk.length - this.offset))
    if (this.partialLength < this.declaredBytes) return false
    this.bytes = this.partial as Buffer
    this.start = 0
    this.body = header
    this.end = this.declaredBytes
    this.partial = null
    this.partialLength = 0
    return true
  }

  private takeIntoPartial(count: number): void {
    let partial = this.partial as Buffer
    const needed = this.partialLength + count
    if (needed > partial.length) {
      // Grown by what has arrived, not by what was declared: a header alone costs nothing.
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(this.limitBytes, partial.length * 2)))
      partial.copy(grown, 0, 0, this.partialLength)
      partial = grown
      this.partial = grown
    }
    this.chunk.copy(partial, this.partialLength, this.offset, this.offset + count)
    this.partialLength = needed
    this.offset += count
  }
}
