/**
 * Takes the frames of a WebSocket client apart (RFC 6455, 5). Borders of messages mean nothing to MQTT [MQTT-6.0.0-4], so that
 * what is in them is passed on as it comes, and nothing is gathered but the few bytes of a control frame.
 */

/** Status codes of Close (RFC 6455, 7.4.1). */
export const CLOSE = { normal: 1000, protocolError: 1002, unsupportedData: 1003 } as const

export interface WebSocketEvents {
  /** Bytes of binary messages, in order; a view of the chunk. */
  data(bytes: Buffer): void
  ping(payload: Buffer): void
  closed(): void
  /** Nothing follows it. */
  violation(code: number): void
}

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
/** Two bytes, eight of a long length, four of the mask. */
const HEADER_BYTES_MAX = 14
const CONTROL_BYTES_MAX = 125

export class WebSocketReader {
  private readonly events: WebSocketEvents
  private readonly header = Buffer.alloc(HEADER_BYTES_MAX)
  private headerLength = 0
  /** Bytes of the frame at hand that are still to come; null between frames. */
  private remaining: number | null = null
  private opcode = 0
  private maskAt = 0
  private masked = 0
  private inMessage = false
  private control: Buffer[] = []
  private over = false

  constructor(events: WebSocketEvents) {
    this.events = events
  }

  /** Nothing more is taken: the client said Close, or broke a rule. */
  get isOver(): boolean {
    return this.over
  }

  /** Bytes of `chunk` are changed: they are unmasked where they are. */
  push(chunk: Buffer): void {
    let at = 0
    while (!this.over) {
      if (this.remaining === null) {
        const taken = this.takeHeader(chunk, at)
        at += taken
        if (this.remaining === null && at >= chunk.length) return
        continue
      }
      const end = Math.min(chunk.length, at + this.remaining)
      if (end === at && this.remaining > 0) return
      this.takePayload(chunk.subarray(at, end))
      at = end
    }
  }

  private takeHeader(chunk: Buffer, from: number): number {
    let taken = 0
    while (from + taken < chunk.length) {
      this.header[this.headerLength++] = chunk[from + taken++] as number
      if (this.headerLength < 2) continue
      // No extension was agreed on, and clients mask.
      const isSound = ((this.header[0] as number) & 0x70) === 0 && ((this.header[1] as number) & 0x80) !== 0
      if (!isSound) {
        this.end(CLOSE.protocolError)
        break
      }
      const short = (this.header[1] as number) & 0x7f
      const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
      if (this.headerLength < 6 + lengthBytes) continue
      this.maskAt = 2 + lengthBytes
      this.headerLength = 0
      this.begin(short, lengthBytes)
      break
    }
    return taken
  }

  private begin(short: number, lengthBytes: number): void {
    const first = this.header[0] as number
    const opcode = first & 0x0f
    const final = (first & 0x80) !== 0
    const isControl = opcode >= OPCODE.close
    const length =
      lengthBytes === 8
        ? Number(this.header.readBigUInt64BE(2))
        : lengthBytes === 2
          ? this.header.readUInt16BE(2)
          : short
    const isKnown = isControl ? opcode <= OPCODE.pong : opcode <= OPCODE.binary
    const isDue = isControl || (opcode === OPCODE.continuation) === this.inMessage
    // Control frames are short and whole.
    const isSound = Number.isSafeInteger(length) && (!isControl || (final && length <= CONTROL_BYTES_MAX))
    if (opcode === OPCODE.text || !isKnown || !isDue || !isSound) {
      this.end(opcode === OPCODE.text ? CLOSE.unsupportedData : CLOSE.protocolError)
      return
    }
    if (!isControl) this.inMessage = !final
    this.opcode = opcode
    this.remaining = length
    this.masked = 0
    this.control = []
  }

  private takePayload(bytes: Buffer): void {
    const { header, maskAt } = this
    let mask = this.masked
    for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] as number) ^ (header[maskAt + (mask++ & 3)] as number)
    this.masked = mask & 3
    this.remaining = (this.remaining as number) - bytes.length
    if (this.opcode === OPCODE.binary || this.opcode === OPCODE.continuation) {
      if (bytes.length > 0) this.events.data(bytes)
    } else {
      this.control.push(Buffer.from(bytes))
    }
    if (this.remaining > 0) return
    this.remaining = null
    if (this.opcode === OPCODE.ping) this.events.ping(Buffer.concat(this.control))
    if (this.opcode !== OPCODE.close) return
    this.over = true
    this.events.closed()
  }

  private end(code: number): void {
    this.over = true
    this.events.violation(code)
  }
}

/** The header of an unfragmented frame from a server. */
function header(opcode: number, length: number): Buffer {
  if (length < 126) return Buffer.of(0x80 | opcode, length)
  if (length < 0x10000) return Buffer.of(0x80 | opcode, 126, length >> 8, length & 0xff)
  const bytes = Buffer.alloc(10)
  bytes[0] = 0x80 | opcode
  bytes[1] = 127
  bytes.writeBigUInt64BE(BigInt(length), 2)
  return bytes
}

export function binaryFrame(payload: Uint8Array): Buffer {
  return Buffer.concat([header(OPCODE.binary, payload.length), payload])
}

export function pongFrame(payload: Uint8Array): Buffer {
  return Buffer.concat([header(OPCODE.pong, payload.length), payload])
}

export function closeFrame(code: number): Buffer {
  return Buffer.concat([header(OPCODE.close, 2), Buffer.of(code >> 8, code & 0xff)])
}
