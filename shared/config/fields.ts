/**
 * The keys of a config file, read off its TypeBox schema: an object of sections, which may nest, whose leaves are
 * strings, numbers, booleans, choices, lists of strings, or tables from string to string or to integer.
 *
 * Beside JSON Schema's own keywords a leaf may carry
 *   `unit`     what a number counts: 'ms', 'bytes', 'hours', …
 *   `expects`  what a string may be, in words, where a pattern alone would say little
 *   `secret`   true when the value must never be printed; a key of the same name with `File` after it then names a file
 *              that holds the value
 *   `secretWhen` pattern of the values that are secret, of such a key
 *   `sample`   a value to show in the example when there is no default; such a key is required
 */

import type { TObject, TSchema } from '@sinclair/typebox'
import { assert } from '../errors.ts'
import { file } from './keys.ts'

export type FieldKind = 'string' | 'integer' | 'number' | 'boolean' | 'choice' | 'list' | 'table'

export interface Field {
  /** Dotted, as in `uplink.backfillShare`. */
  readonly key: string
  /** Sections that hold the key, then its own name. */
  readonly path: readonly string[]
  /** Environment variable that sets it, as in `BUSBAR_EDGE_UPLINK_BACKFILL_SHARE`. */
  readonly variable: string
  readonly kind: FieldKind
  /** Values of a choice, otherwise empty. */
  readonly choices: readonly string[]
  readonly schema: TSchema
  /** The key whose value is in the file that this key names; absent for other keys. */
  readonly holds?: Field
}

/** Every key of `schema`, in its order. `envPrefix` ends with an underscore. */
export function fieldsOf(schema: TObject, envPrefix: string): Field[] {
  const fields: Field[] = []
  collect(schema, [], envPrefix, fields)
  assert(new Set(fields.map((field) => field.variable)).size === fields.length, 'environment variables are distinct')
  return fields
}

/** Sections of `schema` with their descriptions, in order, dotted; tables are leaves, not sections. */
export function sectionsOf(schema: TObject, path: readonly string[] = []): { key: string; description: string }[] {
  return Object.entries(schema.properties).flatMap(([name, child]) => {
    if (!isSection(child)) return []
    const own = { key: [...path, name].join('.'), description: child.description ?? '' }
    return [own, ...sectionsOf(child, [...path, name])]
  })
}

/** True when the key has no default and so must be set. */
export function isRequired(field: Field): boolean {
  return field.schema.default === undefined
}

/** `UPLINK_BACKFILL_SHARE` for `['uplink', 'backfillShare']`. */
export function variableSuffix(path: readonly string[]): string {
  return path.map((name) => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')
}

/** What a value of the field may be, in words that follow "must be". */
export function expectation(field: Field): string {
  const { schema, kind } = field
  switch (kind) {
    case 'boolean':
      return 'true or false'
    case 'choice':
      return `one of ${field.choices.map((choice) => JSON.stringify(choice)).join(', ')}`
    case 'integer':
    case 'number':
      return [kind === 'integer' ? 'an integer' : 'a number', range(schema), unitOf(schema)].filter(Boolean).join(' ')
    case 'string':
      return schema.expects ?? 'a string'
    case 'list':
      return `a list of ${schema.expects ?? 'strings'}`
    case 'table':
      return `a table of ${schema.expects ?? 'strings'}`
  }
}

/** True for a table whose values are numbers. */
export function isTableOfNumbers({ kind, schema }: Field): boolean {
  if (kind !== 'table') return false
  const [values] = Object.values(schema.patternProperties as Readonly<Record<string, TSchema>>)
  return values?.type === 'integer'
}

function collect(section: TObject, path: readonly string[], envPrefix: string, fields: Field[]): void {
  for (const [name, schema] of Object.entries(section.properties)) {
    const own = [...path, name]
    if (isSection(schema)) {
      collect(schema, own, envPrefix, fields)
      continue
    }
    const kind = kindOf(schema, own.join('.'))
    const choices = kind === 'choice' ? schema.anyOf.map((choice: TSchema) => String(choice.const)) : []
    const field = { key: own.join('.'), path: own, variable: envPrefix + variableSuffix(own), kind, choices, schema }
    fields.push(field)
    if (schema.secret === true) fields.push(fileOf(field, envPrefix))
  }
}

/** The key that names the file with the value of a secret. */
function fileOf(secret: Field, envPrefix: string): Field {
  const name = secret.path[secret.path.length - 1] as string
  const path = [...secret.path.slice(0, -1), `${name}File`]
  const schema = file(
    `File that holds ${name} instead; a line break at its end does not count, and nobody else may read it`,
  )
  return {
    key: path.join('.'),
    path,
    variable: envPrefix + variableSuffix(path),
    kind: 'string',
    choices: [],
    schema,
    holds: secret,
  }
}

/** Whether this value of the key must be shown to nobody. */
export function isSecret({ schema }: Field, value: unknown): boolean {
  return schema.secret === true && new RegExp(schema.secretWhen ?? '.', 's').test(String(value))
}

function isSection(schema: TSchema): schema is TObject {
  return schema.type === 'object' && schema.properties !== undefined
}

function kindOf(schema: TSchema, key: string): FieldKind {
  if (Array.isArray(schema.anyOf)) return 'choice'
  if (schema.type === 'array') return 'list'
  if (schema.type === 'object') return 'table'
  const plain = (['string', 'integer', 'number', 'boolean'] as const).find((type) => type === schema.type)
  assert(plain !== undefined, `the schema of ${key} is of a kind that a config file can hold`)
  return plain
}

function range(schema: TSchema): string {
  const { minimum, maximum } = schema
  if (minimum !== undefined && maximum !== undefined) return `from ${minimum} to ${maximum}`
  if (minimum !== undefined) return `of at least ${minimum}`
  if (maximum !== undefined) return `of at most ${maximum}`
  return ''
}

function unitOf(schema: TSchema): string {
  return schema.unit === undefined ? '' : `(${schema.unit})`
}
