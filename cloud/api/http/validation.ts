/**
 * Checks what a caller gave against the schemas that the OpenAPI document publishes, and says for every value that is
 * wrong what it may be. Strict: `"5"` is no integer in a body, an unknown member is an error, not ignored.
 */

import { FormatRegistry, type Static, type TObject, type TSchema } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { Value } from '@sinclair/typebox/value'
import '../../../shared/instant.ts'
import { schemaErrors, shortened } from '../../../shared/schema-errors.ts'
import { type InvalidInput, Problem } from './problem.ts'

// TypeBox refuses every value of a format it does not know. This one is for the reader of the document.
if (!FormatRegistry.Has('uri-reference')) FormatRegistry.Set('uri-reference', () => true)

export type InputPlace = InvalidInput['in']

/** A schema made ready to check values quickly. */
export interface Checker {
  readonly schema: TSchema
  /** What is wrong with `value`; empty when it matches. */
  errors(value: unknown): InvalidInput[]
}

/** Of a union with a `discriminator`, as OpenAPI has it, what is wrong is said of the member that the value means. */
export function checkerFor(schema: TSchema, place: InputPlace): Checker {
  const compiled = TypeCompiler.Compile(schema)
  const errorsOfMeant = meantBy(schema, place)
  return {
    schema,
    errors: (value) => (compiled.Check(value) ? [] : (errorsOfMeant?.(value) ?? inputErrors(compiled, value, place))),
  }
}

/** Undefined of a schema without a discriminator, and of a value that is no object. */
function meantBy(schema: TSchema, place: InputPlace): ((value: unknown) => InvalidInput[] | undefined) | undefined {
  const name = (schema.discriminator as { readonly propertyName: string } | undefined)?.propertyName
  if (name === undefined) return undefined
  const members = new Map(
    (schema.anyOf as TObject[]).map((member) => [member.properties[name]?.const, TypeCompiler.Compile(member)]),
  )
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    const said = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined
    const member = members.get(said)
    if (member !== undefined) return inputErrors(member, value, place)
    const remedy = `one of ${[...members.keys()].join(', ')}`
    const pointer = `/${name}`
    if (said === undefined) return [{ in: place, pointer, remedy: `required: ${remedy}` }]
    return [{ in: place, pointer, value: shortened(said), remedy }]
  }
}

/** Every error of `value`, one for each pointer. */
export function inputErrors(compiled: TypeCheck<TSchema>, value: unknown, place: InputPlace): InvalidInput[] {
  return schemaErrors(compiled, value).map((error) => ({ in: place, ...error }))
}

/** The members of `value` that match the schema on their own, however wrong the rest of it is. */
export function soundMembers<Schema extends TObject>(schema: Schema, value: unknown): Partial<Static<Schema>> {
  if (typeof value !== 'object' || value === null) return {}
  const given = Object.entries(value)
  const sound = given.filter(([name, member]) => {
    const known = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined
    return known !== undefined && Value.Check(known, member)
  })
  return Object.fromEntries(sound) as Partial<Static<Schema>>
}

export function invalidInput(errors: readonly InvalidInput[]): Problem {
  const named = errors.map((error) => `${error.in} ${error.pointer === '' ? 'as a whole' : error.pointer}`).join(', ')
  return new Problem('INVALID_INPUT', `Not allowed: ${named}.`, { errors })
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
