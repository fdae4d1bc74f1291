/**
 * The body of a stored batch: the records of one partition that one commit made durable.
 *
 *     body    = version record*
 *     version = 0x01
 *     record  = key value headers
 *     key     = varint 0                          no key
 *             | varint length + 1, UTF-8
 *     value   = varint length, bytes
 *     headers = varint count, (name, varint length, UTF-8)*
 *     name    = varint 0, varint length, UTF-8    a name seen for the first time in this batch; it gets the next index
 *             | varint index                      a name seen before, counted from 1
 *
 * Varints are unsigned LEB128. The offset of a record is the batch's first offset plus its position.
 */

import { BusbarError } from '../../../shared/errors.ts'
import { GrowingBytes, VARINT_BYTES_MAX } from '../../../shared/growing-bytes.ts'
import type { BusRecord, ConsumedRecord } from '../bus.ts'

const BODY_VERSION = 1
const CAPACITY_BYTES_MIN = 1024
/** Up to this length a loop beats the call into the runtime. */
const SHORT_STRING_MAX = 32

/** Builds one body in place; a new builder for every batch, since the finished bytes are handed on without a copy. */
export class BatchBuilder extends GrowingBytes {
  private records = 0
  private readonly headerIndex = new Map<string, number>()

  constructor(capacityBytes: number) {
    super(Math.max(capacityBytes, CAPACITY_BYTES_MIN))
    this.bytes[this.length++] = BODY_VERSION
  }

  get recordCount(): number {
    return this.records
  }

  /** Appends one record; its value is copied. */
  add(record: BusRecord): void {
    const { key, value, headers } = record
    // Three bytes of UTF-8 for one UTF-16 unit is the worst case.
    const valueBytesMax = typeof value === 'string' ? value.length * 3 : value.length
    this.reserve((key === null ? 0 : key.length * 3) + valueBytesMax + 4 * VARINT_BYTES_MAX)
    if (key === null) this.bytes[this.length++] = 0
    else this.writeString(key, 1)
    if (typeof value === 'string') {
      this.writeString(value, 0)
    } else {
      this.writeVarint(value.length)
      this.bytes.set(value, this.length)
      this.length += value.length
    }
    this.writeHeaders(headers)
    this.records++
  }

  /** The body; the builder must not be used afterwards. Owns its whole ArrayBuffer, so it can be transferred. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.bytes.buffer as ArrayBuffer, 0, this.length)
  }

  private writeHeaders(headers: BusRecord['headers']): void {
    if (headers === undefined) {
      this.bytes[this.length++] = 0
      return
    }
    let count = 0
    for (const _ in headers) count++
    this.writeVarint(count)
    for (const name in headers) {
      const value = headers[name] as string
      this.reserve((name.length + value.length) * 3 + 3 * VARINT_BYTES_MAX)
      const index = this.headerIndex.get(name)
      if (index === undefined) {
        this.headerIndex.set(name, this.headerIndex.size + 1)
        this.writeVarint(0)
        this.writeString(name, 0)
      } else {
        this.writeVarint(index)
      }
      this.writeString(value, 0)
    }
  }

  /** Writes the length plus `lengthBias`, then the UTF-8. The caller has reserved room. */
  private writeString(text: string, lengthBias: number): void {
    if (text.length <= SHORT_STRING_MAX && this.writeShortAscii(text, lengthBias)) return
    this.writeVarint(Buffer.byteLength(text) + lengthBias)
    this.length += this.bytes.write(text, this.length)
  }

  private writeShortAscii(text: string, lengthBias: number): boolean {
    const { bytes } = this
    const start = this.length + 1
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit > 0x7f) return false
      bytes[start + i] = unit
    }
    bytes[start - 1] = text.length + lengthBias
    this.length = start + text.length
    return true
  }
}

/** Where a decoded batch comes from. */
export interface BatchPlace {
  readonly topic: string
  readonly partition: number
  readonly baseOffset: number
  readonly timestampMs: number
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})

/**
 * The records of a body from the `skip`th on; values are views into it.
 * @throws BusbarError BATCH_MALFORMED when the body does not follow the layout.
 */
export function decodeBatch(place: BatchPlace, body: Uint8Array, skip = 0): ConsumedRecord[] {
  const { topic, partition, baseOffset, timestampMs } = place
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (bytes[0] !== BODY_VERSION) throw malformed(place, `version is ${bytes[0]}, expected ${BODY_VERSION}`)
  const records: ConsumedRecord[] = []
  const names: string[] = []
  let at = 1

  const readVarint = (): number => {
    const first = bytes[at++] as number
    if (first < 0x80) return first
    let value = (first ?? 0) & 0x7f
    let scale = 0x80
    for (let i = 1; i < VARINT_BYTES_MAX; i++) {
      const byte = bytes[at++]
      if (byte === undefined) break
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 0x80
    }
    throw malformed(place, 'a number does not end')
  }
  const take = (length: number): number => {
    const start = at
    at += length
    if (at > bytes.length) throw malformed(place, 'it ends within a record')
    return start
  }
  const readHeaders = (): Readonly<Record<string, string>> => {
    const count = readVarint()
    if (count === 0) return NO_HEADERS
    const headers: Record<string, string> = {}
    for (let i = 0; i < count; i++) {
      const index = readVarint()
      if (index === 0) {
        const start = take(readVarint())
        names.push(bytes.toString('utf8', start, at))
      }
      const name = names[index === 0 ? names.length - 1 : index - 1]
      if (name === undefined) throw malformed(place, `header ${index} was not introduced`)
      const start = take(readVarint())
      headers[name] = bytes.toString('utf8', start, at)
    }
    return headers
  }

  for (let position = 0; at < bytes.length; position++) {
    const keyLength = readVarint()
    const keyStart = take(Math.max(0, keyLength - 1))
    const keyEnd = at
    const valueStart = take(readVarint())
    const valueEnd = at
    const headers = readHeaders()
    if (position < skip) continue
    records.push({
      topic,
      partition,
      offset: BigInt(baseOffset + position),
      key: keyLength === 0 ? null : bytes.toString('utf8', keyStart, keyEnd),
      value: bytes.subarray(valueStart, valueEnd),
      headers,
      timestampMs,
    })
  }
  return records
}

function malformed(place: BatchPlace, reason: string): BusbarError {
  const where = `${place.topic}/${place.partition} at offset ${place.baseOffset}`
  return new BusbarError(`stored batch of ${where} is malformed: ${reason}`, { code: 'BATCH_MALFORMED' })
}
