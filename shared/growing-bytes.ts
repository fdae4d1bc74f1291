/** Bytes written one after the other into a buffer that grows: the base of everything that frames records. */

import { assert } from './errors.ts'

/** A varint of a value below 2^35 takes at most five bytes. */
export const VARINT_BYTES_MAX = 5

export abstract class GrowingBytes {
  protected bytes: Buffer
  protected length = 0

  /** @param capacityBytes initial size of the buffer. */
  constructor(capacityBytes: number) {
    // A buffer of its own and no slice of a pool, so that it can be transferred.
    this.bytes = Buffer.allocUnsafeSlow(capacityBytes)
  }

  get byteLength(): number {
    return this.length
  }

  /** Makes room for `extra` more bytes. */
  protected reserve(extra: number): void {
    const needed = this.length + extra
    if (needed <= this.bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }

  /** Unsigned LEB128; the room must be there. */
  protected writeVarint(value: number): void {
    assert(value < 2 ** 35, 'varint fits in five bytes')
    while (value >= 0x80) {
      this.bytes[this.length++] = (value % 0x80) | 0x80
      value = Math.floor(value / 0x80)
    }
    this.bytes[this.length++] = value
  }
}
