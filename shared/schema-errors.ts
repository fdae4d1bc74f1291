/** What is wrong with a value by its TypeBox schema, said so that whoever sent it can mend it. */

import type { TSchema } from '@sinclair/typebox'
import { type TypeCheck, ValueErrorType } from '@sinclair/typebox/compiler'
import { isDeeper } from './json-depth.ts'

export interface SchemaError {
  /** JSON Pointer (RFC 6901) to the value, "" for the whole. */
  readonly pointer: string
  /** What was given, shortened; absent when nothing was. */
  readonly value?: unknown
  /** What the value may be. */
  readonly remedy: string
}

/** Errors listed for one value; the others show once these are mended. */
export const SCHEMA_ERRORS_MAX = 20
/** Characters of a wrong value that are given back. */
const VALUE_CHARS_MAX = 120

/**
 * The errors of `value`, one for each pointer, 20 at most. Where the schema has a member that is `writeOnly`, such as a
 * password, no value is given back: what is wrong may be that a secret stands in the wrong place.
 */
export function schemaErrors(compiled: TypeCheck<TSchema>, value: unknown): SchemaError[] {
  const mayBeRepeated = !takesSecrets(compiled)
  const errors = new Map<string, SchemaError>()
  for (const error of compiled.Errors(value)) {
    if (errors.has(error.path)) continue
    if (errors.size === SCHEMA_ERRORS_MAX) break
    const unexpected = error.type === ValueErrorType.ObjectAdditionalProperties
    const missing = error.type === ValueErrorType.ObjectRequiredProperty
    errors.set(error.path, {
      pointer: error.path,
      ...(missing || !mayBeRepeated ? {} : { value: shortened(error.value) }),
      remedy: unexpected
        ? `leave it out; ${knownMembers(error.schema)}`
        : `${missing ? 'required: ' : ''}${allowed(error.schema)}`,
    })
  }
  return [...errors.values()]
}

const secretTakers = new WeakMap<TypeCheck<TSchema>, boolean>()

function takesSecrets(compiled: TypeCheck<TSchema>): boolean {
  let takes = secretTakers.get(compiled)
  if (takes === undefined) {
    takes = JSON.stringify(compiled.Schema()).includes('"writeOnly":true')
    secretTakers.set(compiled, takes)
  }
  return takes
}

/** What a value of `schema` may be, in words: "an integer from 1 to 1000". */
export function allowed(schema: TSchema): string {
  if (Array.isArray(schema.anyOf)) {
    const choices = schema.anyOf as TSchema[]
    if (choices.every((choice) => choice.const !== undefined)) {
      return `one of ${choices.map((choice) => choice.const).join(', ')}`
    }
    return choices.map(allowed).join(', or ')
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  switch (schema.type) {
    case 'integer':
    case 'number':
      return `${schema.type === 'integer' ? 'an integer' : 'a number'}${bounds(schema.minimum, schema.maximum)}`
    case 'string': {
      const described = (schema.pattern ?? schema.format) !== undefined && schema.description !== undefined
      return described
        ? `text: ${schema.description}`
        : `text${bounds(schema.minLength, schema.maxLength, ' characters')}`
    }
    case 'array':
      return `a list${bounds(schema.minItems, schema.maxItems, ' items')}`
    case 'object':
      return schema.properties === undefined ? 'an object' : `an object; ${knownMembers(schema)}`
    default:
      return schema.type === undefined ? 'any value' : `${schema.type}`
  }
}

/** `value`, or as much of its JSON as an answer should repeat. */
export function shortened(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  // What is nested deeper takes the stack to be written, and would be cut anyway.
  if (isDeeper(value, VALUE_CHARS_MAX)) return '…'
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return text.length <= VALUE_CHARS_MAX ? value : `${text.slice(0, VALUE_CHARS_MAX)}…`
}

function bounds(least: number | undefined, most: number | undefined, unit = ''): string {
  if (least !== undefined && most !== undefined) return ` from ${least} to ${most}${unit}`
  if (least !== undefined) return ` of at least ${least}${unit}`
  return most === undefined ? '' : ` of at most ${most}${unit}`
}

function knownMembers(schema: TSchema): string {
  const names = Object.keys((schema.properties as Record<string, TSchema> | undefined) ?? {})
  return names.length === 0 ? 'it has no members' : `its members are ${names.join(', ')}`
}
