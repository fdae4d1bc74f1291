/** TypeBox schemas as the JSON Schema of a document: named ones by reference, choices of constants as enums. */

import type { TSchema } from '@sinclair/typebox'

export type Json = null | boolean | number | string | Json[] | { [member: string]: Json }

/** Collects the named schemas (those with `$id`) that the others refer to. */
export class SchemaCollection {
  readonly schemas: Record<string, Json> = {}

  /** The schema, or a reference to it when it has a name. */
  use(schema: TSchema): Json {
    return this.convert(JSON.parse(JSON.stringify(schema)) as Json)
  }

  private convert(value: Json): Json {
    if (Array.isArray(value)) return value.map((item) => this.convert(item))
    if (typeof value !== 'object' || value === null) return value
    const { $id, ...rest } = value
    if (typeof $id === 'string') {
      if (this.schemas[$id] === undefined) {
        // Set before its members are, so that a schema may contain itself.
        this.schemas[$id] = {}
        this.schemas[$id] = this.convert(rest)
      }
      return { $ref: `#/components/schemas/${$id}` }
    }
    const choices = rest.anyOf
    if (Array.isArray(choices) && choices.every((choice) => isObject(choice) && choice.const !== undefined)) {
      const { anyOf: _, ...others } = rest
      return { type: 'string', enum: choices.map((choice) => (choice as { const: Json }).const), ...others }
    }
    return Object.fromEntries(Object.entries(rest).map(([name, member]) => [name, this.convert(member)]))
  }
}

function isObject(value: Json): value is { [member: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
