/**
 * How an Avro schema and JSON fit together, read off the text of the schema. Most values are the same in both. What Avro has
 * no word for is said by the attribute `json` of a field (see proto/README.md): `text` holds any JSON as text, and `absent`
 * has null for a member that is not there. A record `JsonText` stands for a list or an object among scalars.
 *
 * The schema of a writer that somebody else made may lack the attributes; then those of our schema of the topic count.
 */

import { assert } from '../../../shared/errors.ts'

type Json = ReturnType<typeof JSON.parse>

/** One type of a schema. Which members it has depends on `type`. */
export interface Shape {
  readonly type: string
  /** Full name of a named type, otherwise its type: what names a branch of a union. */
  readonly name: string
  readonly fields: readonly ShapeField[]
  /** Items of an array, values of a map. */
  readonly inner: Shape | null
  readonly branches: readonly Shape[]
  /** Of a fixed, bytes. */
  readonly size: number
}

interface ShapeField {
  readonly name: string
  readonly shape: Shape
  readonly json: string | undefined
}

const JSON_TEXT = 'JsonText'

/** @param ours schema of the same topic whose attributes count where this one has none; null for our own. */
export function shapeOf(schemaText: string, ours: Shape | null): Shape {
  return read(JSON.parse(schemaText), ours ?? undefined, { namespace: '', named: new Map() })
}

interface Scope {
  readonly namespace: string
  readonly named: Map<string, Shape>
}

type Draft = { -readonly [K in keyof Shape]: Shape[K] }

function read(schema: Json, ours: Shape | undefined, scope: Scope): Shape {
  if (typeof schema === 'string') {
    const known = scope.named.get(schema) ?? scope.named.get(`${scope.namespace}.${schema}`)
    return known ?? draft(schema, schema)
  }
  if (Array.isArray(schema)) {
    const union = draft('union', 'union')
    union.branches = schema.map((branch: Json) => read(branch, counterpart(branch, ours), scope))
    return union
  }
  const { type } = schema
  if (typeof type !== 'string') return read(type, ours, scope)
  const same = counterpart(schema, ours)
  if (type === 'array' || type === 'map') {
    const shape = draft(type, type)
    shape.inner = read(schema.items ?? schema.values, same?.inner ?? undefined, scope)
    return shape
  }
  if (schema.name === undefined) return draft(type, type)
  const dot = schema.name.lastIndexOf('.')
  const namespace = dot >= 0 ? schema.name.slice(0, dot) : (schema.namespace ?? scope.namespace)
  const name = dot >= 0 || namespace === '' ? schema.name : `${namespace}.${schema.name}`
  const shape = draft(type === 'error' ? 'record' : type, name)
  // Before its fields, which may name it.
  scope.named.set(name, shape)
  shape.size = schema.size ?? 0
  shape.fields = (schema.fields ?? []).map((field: Json): ShapeField => {
    const own = same?.fields.find((each) => each.name === field.name)
    const json = field.json ?? own?.json
    return { name: field.name, shape: read(field.type, own?.shape, { ...scope, namespace }), json }
  })
  return shape
}

function draft(type: string, name: string): Draft {
  return { type, name, fields: [], inner: null, branches: [], size: 0 }
}

/** What our schema has where another has `schema`. */
function counterpart(schema: Json, ours: Shape | undefined): Shape | undefined {
  const type = typeof schema === 'string' ? schema : schema.type
  return ours?.type === 'union' ? ours.branches.find((branch) => branch.type === type) : ours
}

/**
 * What the Avro library takes for a value of JSON. What does not fit stays as it is, and the library refuses it.
 * @throws Error when a record has members that its schema does not name: they would be lost.
 */
export function toAvro(shape: Shape, value: Json): Json {
  if (typeof value !== 'object' || value === null) return value
  switch (shape.type) {
    case 'union':
      return toAvro(branchFor(shape, value), value)
    case 'array':
      return Array.isArray(value) ? value.map((item: Json) => toAvro(shape.inner as Shape, item)) : value
    case 'map':
      return Array.isArray(value) ? value : mapped(value, shape.inner as Shape, toAvro)
    case 'record':
      if (isJsonText(shape)) return { json: JSON.stringify(value) }
      return Array.isArray(value) ? value : recordToAvro(shape, value)
    default:
      return value
  }
}

function recordToAvro(shape: Shape, value: Json): Json {
  const record: Json = {}
  let members = 0
  for (const { name, shape: inner, json } of shape.fields) {
    const member = Object.hasOwn(value, name) ? value[name] : undefined
    if (member !== undefined) members++
    if (json === 'text') record[name] = member === undefined || member === null ? null : JSON.stringify(member)
    // What is left undefined takes the default of its field.
    else record[name] = toAvro(inner, member)
  }
  const names = Object.keys(value)
  if (members < names.length) {
    const unknown = names.find((name) => !shape.fields.some((field) => field.name === name))
    throw new Error(`${shape.name} has no member ${JSON.stringify(unknown)}`)
  }
  return record
}

/** The value of JSON for what the Avro library read. @throws Error when a field that should be JSON text is not. */
export function fromAvro(shape: Shape, value: Json): Json {
  if (typeof value !== 'object' || value === null) return value
  if (Buffer.isBuffer(value)) return value.toString('base64')
  switch (shape.type) {
    case 'union':
      return fromUnion(shape, value)
    case 'array':
      return value.map((item: Json) => fromAvro(shape.inner as Shape, item))
    case 'map':
      return mapped(value, shape.inner as Shape, fromAvro)
    case 'record':
      return isJsonText(shape) ? JSON.parse(value.json) : recordFromAvro(shape, value)
    default:
      return value
  }
}

function recordFromAvro(shape: Shape, value: Json): Json {
  const record: Json = {}
  for (const { name, shape: inner, json } of shape.fields) {
    const member = value[name]
    if (json === 'absent' && member === null) continue
    record[name] = json === 'text' && typeof member === 'string' ? JSON.parse(member) : fromAvro(inner, member)
  }
  return record
}

/** The library puts a value into an object with the name of its branch where the value does not tell the branch. */
function fromUnion(shape: Shape, value: Json): Json {
  if (!isAmbiguous(shape)) return fromAvro(branchFor(shape, value), value)
  const [name] = Object.keys(value)
  const branch = shape.branches.find((each) => each.name === name)
  assert(branch !== undefined, 'a value of a union names its branch')
  return fromAvro(branch, value[branch.name])
}

/** As the library has it: two branches of one kind. */
function isAmbiguous({ branches }: Shape): boolean {
  return new Set(branches.map(kindOf)).size < branches.length
}

function kindOf({ type }: Shape): string {
  if (type === 'int' || type === 'long' || type === 'float' || type === 'double') return 'number'
  if (type === 'bytes' || type === 'fixed') return 'buffer'
  if (type === 'map' || type === 'record') return 'object'
  return type === 'enum' ? 'string' : type
}

/** The branch of an object or a list; any of them when none fits. */
function branchFor({ branches }: Shape, value: Json): Shape {
  const isList = Array.isArray(value)
  const fits = branches.find((each) => (isList ? each.type === 'array' : kindOf(each) === 'object'))
  return fits ?? branches.find(isJsonText) ?? (branches[0] as Shape)
}

function isJsonText({ type, name, fields }: Shape): boolean {
  return type === 'record' && (name === JSON_TEXT || name.endsWith(`.${JSON_TEXT}`)) && fields[0]?.name === 'json'
}

function mapped(value: Json, inner: Shape, convert: (shape: Shape, value: Json) => Json): Json {
  const result: Json = {}
  for (const name of Object.keys(value)) {
    const member = value[name]
    result[name] = typeof member === 'object' && member !== null ? convert(inner, member) : member
  }
  return result
}
