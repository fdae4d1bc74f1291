/**
 * The body of a block: records in the order in which they were stored.
 *
 *     body   = version record*
 *     version = 0x01
 *     record = topic delay length payload
 *     topic  = varint 0, varint length, UTF-8   a topic seen for the first time in this block; it gets the next index
 *            | varint index                     a topic seen before, counted from 1
 *     delay  = varint                           milliseconds of monotonic time since the block was begun
 *     length = varint                           bytes of the payload that follow
 *
 * Varints are unsigned LEB128. The sequence of a record is the block's first sequence plus its position.
 */

import { crc32c } from '@platformatic/wasm-utils/bundled'
import { BusbarError } from './errors.ts'
import { GrowingBytes, VARINT_BYTES_MAX } from './growing-bytes.ts'

const BODY_VERSION = 1

/** A record of a decoded block. `payload` is a view into the body. */
export interface BlockRecord {
  readonly topic: string
  /** Milliseconds of monotonic time since the block was begun. */
  readonly delayMs: number
  readonly payload: Uint8Array
}

/** CRC-32C (Castagnoli), as in RFC 3720, unsigned. */
export function checksum(bytes: Uint8Array): number {
  return crc32c(bytes) >>> 0
}

/** Builds one body in place; a new builder for every block, since the finished bytes are handed on without a copy. */
export class BlockBuilder extends GrowingBytes {
  private records = 0
  private readonly topicIndex = new Map<string, number>()

  /** @param capacityBytes initial size of the buffer; it grows when needed. */
  constructor(capacityBytes: number) {
    super(Math.max(capacityBytes, 16))
    this.bytes[this.length++] = BODY_VERSION
  }

  get recordCount(): number {
    return this.records
  }

  /** Appends one record; `payload` is copied. */
  add(topic: string, delayMs: number, payload: Uint8Array): void {
    const known = this.topicIndex.get(topic)
    // Three bytes of UTF-8 for one UTF-16 unit is the worst case.
    const topicBytesMax = known === undefined ? topic.length * 3 : 0
    this.reserve(topicBytesMax + payload.length + 4 * VARINT_BYTES_MAX)
    if (known === undefined) {
      this.topicIndex.set(topic, this.topicIndex.size + 1)
      this.writeVarint(0)
      this.writeVarint(Buffer.byteLength(topic))
      this.length += this.bytes.write(topic, this.length)
    } else {
      this.writeVarint(known)
    }
    this.writeVarint(Math.max(0, Math.round(delayMs)))
    this.writeVarint(payload.length)
    this.bytes.set(payload, this.length)
    this.length += payload.length
    this.records++
  }

  /** The body; the builder must not be used afterwards. Owns its whole ArrayBuffer, so it can be transferred. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.bytes.buffer as ArrayBuffer, 0, this.length)
  }
}

/**
 * The records of a body, in order.
 * @throws BusbarError BLOCK_MALFORMED when the body does not follow the layout.
 */
export function decodeBody(body: Uint8Array): BlockRecord[] {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (bytes[0] !== BODY_VERSION) throw malformed(`version is ${bytes[0]}, expected ${BODY_VERSION}`)
  const records: BlockRecord[] = []
  const topics: string[] = []
  let offset = 1

  const readVarint = (): number => {
    let value = 0
    let scale = 1
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      const byte = bytes[offset++]
      if (byte === undefined) throw malformed('it ends within a number')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 0x80
    }
    throw malformed('a number is too long')
  }
  const take = (length: number): number => {
    const start = offset
    offset += length
    if (offset > bytes.length) throw malformed('it ends within a record')
    return start
  }

  while (offset < bytes.length) {
    const index = readVarint()
    if (index === 0) {
      const length = readVarint()
      const start = take(length)
      topics.push(bytes.toString('utf8', start, offset))
    }
    const topic = index === 0 ? topics[topics.length - 1] : topics[index - 1]
    if (topic === undefined) throw malformed(`topic ${index} was not introduced`)
    const delayMs = readVarint()
    const length = readVarint()
    const start = take(length)
    records.push({ topic, delayMs, payload: bytes.subarray(start, offset) })
  }
  return records
}

function malformed(reason: string): BusbarError {
  return new BusbarError(`block body is malformed: ${reason}`, { code: 'BLOCK_MALFORMED' })
}
