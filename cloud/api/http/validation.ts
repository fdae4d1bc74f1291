/**
 * Checks what a caller gave against the schemas that the OpenAPI document publishes, and says for every value that is
 * wrong what it may be. Strict: `"5"` is no integer in a body, an unknown member is an error, not ignored.
 */

import { FormatRegistry, type TObject, type TSchema } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler'
import { type InvalidInput, Problem } from './problem.ts'

/** Errors listed in one answer. */
const ERRORS_MAX = 20
/** Characters of a wrong value that are given back. */
const VALUE_CHARS_MAX = 120

// TypeBox refuses every value of a format it does not know. These are for the reader of the document.
for (const format of ['uri-reference', 'date-time']) {
  if (!FormatRegistry.Has(format)) FormatRegistry.Set(format, () => true)
}

export type InputPlace = InvalidInput['in']

/** A schema made ready to check values quickly. */
export interface Checker {
  readonly schema: TSchema
  /** Throws INVALID_INPUT with every error when `value` does not match. */
  check(value: unknown): void
}

export function checkerFor(schema: TSchema, place: InputPlace): Checker {
  const compiled = TypeCompiler.Compile(schema)
  return {
    schema,
    check(value) {
      if (!compiled.Check(value)) throw invalidInput(inputErrors(compiled, value, place))
    },
  }
}

/** Every error of `value`, one for each pointer. */
export function inputErrors(compiled: TypeCheck<TSchema>, value: unknown, place: InputPlace): InvalidInput[] {
  const errors = new Map<string, InvalidInput>()
  for (const error of compiled.Errors(value)) {
    if (errors.has(error.path)) continue
    if (errors.size === ERRORS_MAX) break
    const unexpected = error.type === ValueErrorType.ObjectAdditionalProperties
    const missing = error.type === ValueErrorType.ObjectRequiredProperty
    errors.set(error.path, {
      in: place,
      pointer: error.path,
      ...(missing ? {} : { value: shortened(error.value) }),
      remedy: unexpected
        ? `leave it out; ${knownMembers(error.schema)}`
        : `${missing ? 'required: ' : ''}${allowed(error.schema)}`,
    })
  }
  return [...errors.values()]
}

export function invalidInput(errors: readonly InvalidInput[]): Problem {
  const named = errors.map((error) => `${error.in} ${error.pointer === '' ? 'as a whole' : error.pointer}`).join(', ')
  return new Problem('INVALID_INPUT', `Not allowed: ${named}.`, { errors })
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
    case 'string':
      if (schema.pattern !== undefined && schema.description !== undefined) return `text: ${schema.description}`
      return `text${bounds(schema.minLength, schema.maxLength, ' characters')}`
    case 'array':
      return `a list${bounds(schema.minItems, schema.maxItems, ' items')}`
    case 'object':
      return schema.properties === undefined ? 'an object' : `an object; ${knownMembers(schema)}`
    default:
      return schema.type === undefined ? 'any value' : `${schema.type}`
  }
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

function shortened(value: unknown): unknown {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return text.length <= VALUE_CHARS_MAX ? value : `${text.slice(0, VALUE_CHARS_MAX)}…`
}

/**
 * Path and query values arrive as text: those whose schema is a number or a boolean are read as such when they look
 * it, and left as they are otherwise, so that the check names what was given.
 */
export function readText(schema: TObject, values: Readonly<Record<string, string>>): Record<string, unknown> {
  const read: Record<string, unknown> = {}
  for (const [name, text] of Object.entries(values)) {
    const type = schema.properties[name]?.type
    if ((type === 'integer' || type === 'number') && /^-?[0-9]{1,15}(\.[0-9]{1,15})?$/.test(text))
      read[name] = Number(text)
    else if (type === 'boolean' && (text === 'true' || text === 'false')) read[name] = text === 'true'
    else read[name] = text
  }
  return read
}

/** The query of a URL. A name given twice is an error rather than a guess which one was meant. */
export function readQuery(url: string): Record<string, string> {
  const values: Record<string, string> = {}
  const start = url.indexOf('?')
  if (start === -1) return values
  for (const [name, text] of new URLSearchParams(url.slice(start + 1))) {
    if (Object.hasOwn(values, name)) {
      throw invalidInput([{ in: 'query', pointer: `/${name}`, value: shortened(text), remedy: 'give it once' }])
    }
    values[name] = text
  }
  return values
}
