/**
 * Avro schemas made from the TypeBox schemas of JSON values, so that a value comes through Avro and back with the same
 * meaning. What Avro has no word for stands in the attribute `json` of a field, which readers of Avro ignore; see
 * proto/README.md.
 */

import type { TSchema } from '@sinclair/typebox'

type Json = ReturnType<typeof JSON.parse>

export const AVRO_NAMESPACE = 'busbar.v1'

const SCALARS: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'boolean',
  integer: 'long',
  number: 'double',
}

/** What a JSON object or array is among scalars, for which Avro has no type of its own. */
const JSON_TEXT = {
  type: 'record',
  name: 'JsonText',
  doc: 'A list or an object, which has no type of its own here',
  fields: [{ name: 'json', type: 'string', doc: 'As JSON text' }],
}

/** A record of its own. @param name of it; records within it begin their names with it unless they have an `$id`. */
export function avroRecord(name: string, schema: TSchema): Json {
  return record({ namespace: AVRO_NAMESPACE, names: new Set() }, name, schema)
}

interface Made {
  /** Of the outermost record; those within it inherit it. */
  readonly namespace?: string
  /** Of the records so far: each is written once and named after that. */
  readonly names: Set<string>
}

function record({ namespace, names }: Made, name: string, schema: TSchema): Json {
  const required = new Set<string>(schema.required)
  names.add(name)
  return {
    type: 'record',
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(schema.description === undefined ? {} : { doc: schema.description }),
    fields: Object.entries<TSchema>(schema.properties).map(([member, memberSchema]) =>
      field({ names }, name, member, memberSchema, required.has(member)),
    ),
  }
}

function field(made: Made, recordName: string, name: string, schema: TSchema, required: boolean): Json {
  const { inner, isNullable } = withoutNull(schema)
  const doc = docOf(schema, inner)
  // Any JSON has no type of its own in Avro.
  if (isAny(inner)) {
    return { name, type: ['null', 'string'], default: null, doc: `As JSON text. ${doc}`, json: 'text' }
  }
  const type = avroType(made, `${recordName}${capitalised(name)}`, inner)
  if (required) return { name, type: isNullable ? ['null', type] : type, ...withDoc(doc) }
  return { name, type: ['null', type], default: null, ...withDoc(doc), ...(isNullable ? {} : { json: 'absent' }) }
}

/** @param name of a record that has none of its own. */
function avroType(made: Made, name: string, schema: TSchema): Json {
  if (isLiterals(schema)) return 'string'
  if (schema.type === 'array') return { type: 'array', items: avroType(made, name, schema.items) }
  if (schema.type !== 'object') {
    const scalar = SCALARS[schema.type as string]
    if (scalar === undefined) throw new Error(`no Avro type is agreed on for ${name}, which is of type ${schema.type}`)
    return scalar
  }
  if (schema.patternProperties !== undefined) return mapOf(made, Object.values<TSchema>(schema.patternProperties))
  const own = schema.$id ?? name
  return made.names.has(own) ? own : record({ names: made.names }, own, schema)
}

function mapOf({ names }: Made, [values]: readonly TSchema[]): Json {
  if (values === undefined || !isAny(values)) throw new Error('only maps of any JSON are agreed on')
  const json = names.has(JSON_TEXT.name) ? JSON_TEXT.name : JSON_TEXT
  names.add(JSON_TEXT.name)
  // One type of number: an integer in JSON says nothing of the next value.
  return { type: 'map', values: ['null', 'boolean', 'double', 'string', json] }
}

function withoutNull(schema: TSchema): { readonly inner: TSchema; readonly isNullable: boolean } {
  const all: readonly TSchema[] | undefined = schema.anyOf
  const others = all?.filter(({ type }) => type !== 'null')
  if (all === undefined || others === undefined || others.length === all.length) {
    return { inner: schema, isNullable: false }
  }
  const [only] = others
  if (others.length !== 1 || only === undefined) throw new Error('a choice of null and several types is not agreed on')
  return { inner: only, isNullable: true }
}

function isAny(schema: TSchema): boolean {
  return schema.type === undefined && schema.anyOf === undefined && schema.const === undefined
}

/** Choices stay open in Avro: an enum that gets one more cannot be read with the schema that lacks it. */
function isLiterals(schema: TSchema): boolean {
  return schema.anyOf?.every((each: TSchema) => typeof each.const === 'string') === true
}

function docOf(schema: TSchema, inner: TSchema): string {
  const words: string | undefined = schema.description ?? inner.description
  const constant = typeof inner.const === 'string' ? [inner] : []
  const literals: readonly TSchema[] = isLiterals(inner) ? inner.anyOf : constant
  // The type of a published event is in the words of its schema already.
  if (literals.length === 0 || (constant.length > 0 && words !== undefined)) return words ?? ''
  const choices = literals.map(({ const: literal }) => literal).join(', ')
  return words === undefined ? choices : `${choices}. ${words}`
}

function withDoc(doc: string): { readonly doc?: string } {
  return doc === '' ? {} : { doc }
}

function capitalised(name: string): string {
  return name
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')
}
