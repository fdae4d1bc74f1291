/**
 * Kafka's record batch, version 2 (kafka.apache.org/documentation/#recordbatch), written in place: no object, map or
 * buffer per record, which is most of what producing costs.
 *
 *     batch  = baseOffset:i64 batchLength:i32 partitionLeaderEpoch:i32 magic:i8 crc:u32 attributes:i16
 *              lastOffsetDelta:i32 baseTimestamp:i64 maxTimestamp:i64 producerId:i64 producerEpoch:i16
 *              baseSequence:i32 count:i32 records
 *     record = length:varint attributes:i8 timestampDelta:varint offsetDelta:varint keyLength:varint key
 *              valueLength:varint value headerCount:varint (nameLength:varint name valueLength:varint value)*
 *
 * Varints are zigzag LEB128. The CRC-32C covers everything behind it; the records may be compressed as a whole.
 */

import { crc32c } from '@platformatic/wasm-utils/bundled'
import { GrowingBytes, VARINT_BYTES_MAX } from '../../../shared/growing-bytes.ts'
import type { BusRecord } from '../bus.ts'

/** Bytes of a batch in front of its records. */
export const BATCH_HEADER_BYTES = 61
const MAGIC = 2
/** Offset at which the part covered by the CRC begins. */
const CRC_END = 21
/** What `batchLength` does not count: baseOffset and itself. */
const LENGTH_END = 12
const CAPACITY_BYTES_MIN = 4096
/** Up to this length a loop beats the call into the runtime; its zigzag length takes one byte. */
const SHORT_STRING_MAX = 48
/** Zigzag lengths from 64 to 8191 take two bytes, as those of most values and records do. */
const LIKELY_LENGTH_BYTES = 2

/** Builds the records of one batch; a new builder for every batch. */
export class RecordsBuilder extends GrowingBytes {
  private records = 0
  private firstMs = 0
  private lastMs = 0

  constructor(capacityBytes: number) {
    super(Math.max(capacityBytes, CAPACITY_BYTES_MIN))
  }

  get recordCount(): number {
    return this.records
  }

  get firstTimestampMs(): number {
    return this.firstMs
  }

  get maxTimestampMs(): number {
    return this.lastMs
  }

  /** Appends one record; its value is copied. `timestampMs` is Unix time; a clock step back within a batch is ignored. */
  add(record: BusRecord, timestampMs: number): void {
    const { key, value, headers } = record
    if (this.records === 0) this.firstMs = this.lastMs = timestampMs
    else if (timestampMs > this.lastMs) this.lastMs = timestampMs
    // Three bytes of UTF-8 for one UTF-16 unit is the worst case.
    const valueBytesMax = typeof value === 'string' ? value.length * 3 : value.length
    this.reserve((key === null ? 0 : key.length * 3) + valueBytesMax + 8 * VARINT_BYTES_MAX)
    const start = this.length
    this.length += LIKELY_LENGTH_BYTES
    this.bytes[this.length++] = 0
    this.writeZigzag(this.lastMs - this.firstMs)
    this.writeZigzag(this.records)
    if (key === null) this.bytes[this.length++] = 1
    else this.writeString(key)
    if (typeof value === 'string') {
      this.writeString(value)
    } else {
      this.writeZigzag(value.length)
      this.bytes.set(value, this.length)
      this.length += value.length
    }
    this.writeHeaders(headers)
    this.reserve(VARINT_BYTES_MAX)
    this.putLength(start, this.length - start - LIKELY_LENGTH_BYTES)
    this.records++
  }

  /** What was added; a view, valid until the next `add`. */
  finish(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  private writeHeaders(headers: BusRecord['headers']): void {
    if (headers === undefined) {
      this.bytes[this.length++] = 0
      return
    }
    let count = 0
    for (const _ in headers) count++
    this.writeZigzag(count)
    for (const name in headers) {
      const value = headers[name] as string
      this.reserve((name.length + value.length) * 3 + 2 * VARINT_BYTES_MAX)
      this.writeString(name)
      this.writeString(value)
    }
  }

  /** Writes length and UTF-8. The caller has reserved room for the worst case. */
  private writeString(text: string): void {
    if (text.length <= SHORT_STRING_MAX && this.writeShortAscii(text)) return
    const start = this.length
    const written = this.bytes.write(text, start + LIKELY_LENGTH_BYTES)
    this.length = start + LIKELY_LENGTH_BYTES + written
    this.putLength(start, written)
  }

  private writeShortAscii(text: string): boolean {
    const { bytes } = this
    const start = this.length + 1
    const end = text.length
    for (let i = 0; i < end; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) return false
      bytes[start + i] = unit
    }
    bytes[start - 1] = end << 1
    this.length = start + end
    return true
  }

  /** Puts a length in front of the `length` bytes that end here, moving them when it does not take the likely size. */
  private putLength(at: number, length: number): void {
    const size = varintBytes(length)
    if (size !== LIKELY_LENGTH_BYTES) {
      this.bytes.copyWithin(at + size, at + LIKELY_LENGTH_BYTES, this.length)
      this.length += size - LIKELY_LENGTH_BYTES
    }
    const end = this.length
    this.length = at
    this.writeZigzag(length)
    this.length = end
  }

  /** Zigzag of a number that is not negative. */
  private writeZigzag(value: number): void {
    let rest = value * 2
    while (rest >= 0x80) {
      this.bytes[this.length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.bytes[this.length++] = rest
  }
}

function varintBytes(value: number): number {
  let size = 1
  for (let rest = value * 2; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
  return size
}

/** Records ready to be framed, compressed or not. */
export interface SealedRecords {
  readonly bytes: Uint8Array
  /** Bits 0 to 2 of the batch's attributes. */
  readonly codec: number
  readonly count: number
  readonly firstTimestampMs: number
  readonly maxTimestampMs: number
}

/** Who produces, so that the broker recognises a batch that is sent twice. */
export interface ProducerPosition {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly sequence: number
  /** Part of the transaction that the producer has begun. */
  readonly isTransactional?: boolean
}

/** Bit 4 of the batch's attributes. */
const TRANSACTIONAL = 0x10

/** The whole batch. */
export function frameBatch(records: SealedRecords, position: ProducerPosition): Buffer {
  const batch = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + records.bytes.length)
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - LENGTH_END, 8)
  batch.writeInt32BE(-1, 12)
  batch.writeInt8(MAGIC, 16)
  batch.writeInt16BE(position.isTransactional === true ? records.codec | TRANSACTIONAL : records.codec, 21)
  batch.writeInt32BE(records.count - 1, 23)
  batch.writeBigInt64BE(BigInt(records.firstTimestampMs), 27)
  batch.writeBigInt64BE(BigInt(records.maxTimestampMs), 35)
  batch.writeBigInt64BE(position.producerId, 43)
  batch.writeInt16BE(position.producerEpoch, 51)
  batch.writeInt32BE(position.sequence, 53)
  batch.writeInt32BE(records.count, 57)
  batch.set(records.bytes, BATCH_HEADER_BYTES)
  batch.writeUInt32BE(crc32c(batch.subarray(CRC_END)) >>> 0, 17)
  return batch
}
