/** JSON text to Avro in the wire format of registries, and back. */

import avsc from 'avsc'
import { messageOf } from '../../../shared/errors.ts'
import { checkBounds } from './avro-bounds.ts'
import { fromAvro, type Shape, shapeOf, toAvro } from './avro-shape.ts'
import { HEADER_BYTES, writeHeader } from './wire-format.ts'

const SCRATCH_BYTES = 16 * 1024
/** Larger ones are not kept for the next value. */
const SCRATCH_BYTES_MAX = 1024 * 1024

export class AvroEncoder {
  readonly shape: Shape
  private readonly type: avsc.Type
  private scratch = Buffer.allocUnsafe(SCRATCH_BYTES)

  /** @param schemaText of ours. */
  constructor(schemaText: string) {
    this.shape = shapeOf(schemaText, null)
    this.type = typeOf(schemaText)
  }

  /** @throws Error when the text is no JSON, or does not fit the schema; its message quotes no values. */
  encode(schemaId: number, text: string): Buffer {
    const value = toAvro(this.shape, parse(text))
    const end = this.write(value)
    const encoded = Buffer.from(this.scratch.subarray(0, end))
    writeHeader(encoded, schemaId)
    if (this.scratch.length > SCRATCH_BYTES_MAX) this.scratch = Buffer.allocUnsafe(SCRATCH_BYTES)
    return encoded
  }

  /** Writes behind where the header goes, and returns where the value ends. */
  private write(value: unknown): number {
    try {
      const end = this.type.encode(value, this.scratch, HEADER_BYTES)
      if (end >= 0) return end
      // What is missing, less than nothing.
      this.scratch = Buffer.allocUnsafe(this.scratch.length - end)
      return this.type.encode(value, this.scratch, HEADER_BYTES)
    } catch (error) {
      throw new Error(this.misfit(value) ?? messageOf(error))
    }
  }

  private misfit(value: unknown): string | null {
    const places: string[] = []
    const errorHook = (path: string[], _: unknown, type: avsc.Type): void => {
      places.push(`/${path.join('/')} is no ${type.typeName.replace(/:.*/, ' of what its schema names')}`)
    }
    this.type.isValid(value, { errorHook })
    return places[0] ?? null
  }
}

export class AvroDecoder {
  private readonly shape: Shape
  private readonly type: avsc.Type

  /**
   * @param schemaText of the writer.
   * @param ours shape of our schema of the topic, null when it has none.
   * @throws Error when it is no Avro schema that can be understood by itself.
   */
  constructor(schemaText: string, ours: Shape | null) {
    this.type = typeOf(schemaText)
    this.shape = shapeOf(schemaText, ours)
  }

  /** @returns JSON text. @throws Error when the value is not as its schema says. */
  decode(framed: Buffer): string {
    checkBounds(this.shape, framed, HEADER_BYTES)
    return JSON.stringify(fromAvro(this.shape, this.type.fromBuffer(framed.subarray(HEADER_BYTES))))
  }
}

/** Logical types are read as what they are made of: times stay numbers. */
function typeOf(schemaText: string): avsc.Type {
  return avsc.Type.forSchema(JSON.parse(schemaText))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The message of the runtime may quote the text.
    throw new Error('it is no JSON')
  }
}
