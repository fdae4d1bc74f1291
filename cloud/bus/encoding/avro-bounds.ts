/**
 * Walks an Avro value without making anything of it, before the library does. A list says how many items it has, and the
 * library believes it: a few bytes that claim a thousand million would cost seconds and gigabytes.
 */

import type { Shape } from './avro-shape.ts'

/** Of types within types; a schema may name itself. */
const DEPTH_MAX = 64
const FIXED_BYTES: Readonly<Record<string, number>> = { null: 0, boolean: 1, float: 4, double: 8 }

/** @throws Error when the value from `at` on does not end where `value` does, or claims more items than it has bytes. */
export function checkBounds(shape: Shape, value: Buffer, at: number): void {
  const walk = new Walk(value, at)
  walk.pass(shape, 0)
  if (walk.at !== value.length) throw new Error(`${value.length - walk.at} bytes too many`)
}

class Walk {
  at: number
  private readonly value: Buffer
  /** Items that lists may still have: each takes a byte, or should. */
  private itemsLeft: number

  constructor(value: Buffer, at: number) {
    this.value = value
    this.at = at
    this.itemsLeft = value.length
  }

  pass(shape: Shape, depth: number): void {
    if (depth > DEPTH_MAX) throw new Error('nested too deeply')
    switch (shape.type) {
      case 'int':
      case 'long':
      case 'enum':
        this.long()
        return
      case 'string':
      case 'bytes':
        this.skip(this.long())
        return
      case 'fixed':
        this.skip(shape.size)
        return
      case 'union':
        this.pass(this.branch(shape), depth + 1)
        return
      case 'record':
        for (const field of shape.fields) this.pass(field.shape, depth + 1)
        return
      case 'array':
      case 'map':
        this.passItems(shape, depth + 1)
        return
      default: {
        const bytes = FIXED_BYTES[shape.type]
        if (bytes === undefined) throw new Error(`no type ${shape.type}`)
        this.skip(bytes)
      }
    }
  }

  private branch({ branches }: Shape): Shape {
    const branch = branches[this.long()]
    if (branch === undefined) throw new Error('no such branch of a union')
    return branch
  }

  private passItems({ type, inner }: Shape, depth: number): void {
    for (let count = this.long(); count !== 0; count = this.long()) {
      // A negative count comes with the bytes of its items.
      if (count < 0) this.long()
      this.itemsLeft -= Math.abs(count)
      if (this.itemsLeft < 0) throw new Error('claims more items than it has bytes')
      for (let item = Math.abs(count); item > 0; item--) {
        if (type === 'map') this.skip(this.long())
        this.pass(inner as Shape, depth)
      }
    }
  }

  private skip(bytes: number): void {
    if (bytes < 0 || bytes > this.value.length - this.at) throw new Error('ends too early')
    this.at += bytes
  }

  /** A zigzag number; above 2^53 not exact, which is too large for anything counted here. */
  private long(): number {
    let result = 0
    let factor = 1
    for (let bytes = 0; bytes < 10; bytes++) {
      const byte = this.value[this.at++]
      if (byte === undefined) throw new Error('ends too early')
      result += (byte & 0x7f) * factor
      if (byte < 0x80) return result % 2 === 0 ? result / 2 : -(result + 1) / 2
      factor *= 128
    }
    throw new Error('a number is too long')
  }
}
