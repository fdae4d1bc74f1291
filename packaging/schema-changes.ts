/**
 * What a changed schema would break in programs that rely on the released one: a consumer must understand what is written by
 * the new one, and the new one must accept what was written before.
 */

import { isDeepStrictEqual } from 'node:util'

type Json = ReturnType<typeof JSON.parse>

/** Keywords that only people read. */
const ANNOTATIONS = new Set(['$comment', 'title', 'description', 'examples', 'deprecated', 'doc'])
/** Keywords that are compared member by member. */
const STRUCTURE = new Set(['properties', 'required', 'items'])

/** Breaking changes between two JSON Schemas, in words; empty when there are none. */
export function jsonSchemaBreaks(released: Json, current: Json, at = ''): string[] {
  const where = at === '' ? 'the schema' : at
  const breaks: string[] = []
  for (const keyword of new Set([...Object.keys(released), ...Object.keys(current)])) {
    if (ANNOTATIONS.has(keyword) || STRUCTURE.has(keyword)) continue
    // Narrowed, and what was written before is refused; widened, and consumers with the released schema refuse it.
    if (!isDeepStrictEqual(released[keyword], current[keyword])) {
      breaks.push(`${where}: ${keyword} was ${shown(released[keyword])} and is ${shown(current[keyword])}`)
    }
  }
  return [...breaks, ...memberBreaks(released, current, at), ...itemBreaks(released, current, at)]
}

function memberBreaks(released: Json, current: Json, at: string): string[] {
  const before = released.properties ?? {}
  const now = current.properties ?? {}
  const requiredBefore: string[] = released.required ?? []
  const requiredNow: string[] = current.required ?? []
  const breaks: string[] = []
  for (const [name, schema] of Object.entries<Json>(before)) {
    const place = `${at}/${name}`
    if (now[name] === undefined) breaks.push(`${place} was removed`)
    else breaks.push(...jsonSchemaBreaks(schema, now[name], place))
  }
  for (const name of Object.keys(now)) {
    if (before[name] === undefined && released.additionalProperties === false) {
      breaks.push(
        `${at}/${name} was added, and consumers with the released schema refuse members that they do not know`,
      )
    }
  }
  for (const name of requiredNow) {
    if (!requiredBefore.includes(name))
      breaks.push(`${at}/${name} is required and was not: what was written before lacks it`)
  }
  for (const name of requiredBefore) {
    if (!requiredNow.includes(name)) breaks.push(`${at}/${name} was required and is not: consumers rely on it`)
  }
  return breaks
}

function itemBreaks(released: Json, current: Json, at: string): string[] {
  if (released.items === undefined && current.items === undefined) return []
  return jsonSchemaBreaks(released.items ?? {}, current.items ?? {}, `${at}/*`)
}

/** Breaking changes between two Avro records, in words; empty when there are none. */
export function avroBreaks(released: Json, current: Json, at = ''): string[] {
  const record = at === '' ? "the record's" : `${at}: the record's`
  const breaks = ['type', 'namespace', 'name']
    .filter((member) => released[member] !== current[member])
    .map((member) => `${record} ${member} was ${released[member]} and is ${current[member]}`)
  const before = new Map<string, Json>(released.fields.map((field: Json) => [field.name, field]))
  const now = new Map<string, Json>(current.fields.map((field: Json) => [field.name, field]))
  for (const [name, field] of before) {
    const other = now.get(name)
    const place = at === '' ? name : `${at}.${name}`
    if (other === undefined) breaks.push(`${place} was removed`)
    else breaks.push(...fieldBreaks(field, other, place))
  }
  for (const [name, field] of now) {
    if (!before.has(name) && !('default' in field)) {
      const place = at === '' ? name : `${at}.${name}`
      breaks.push(`${place} was added without a default: what was written before cannot be read`)
    }
  }
  return breaks
}

function fieldBreaks(released: Json, current: Json, place: string): string[] {
  // `json` says how the value is meant.
  const others = ['default', 'json']
    .filter((member) => !isDeepStrictEqual(released[member], current[member]))
    .map((member) => `${place}: ${member} was ${shown(released[member])} and is ${shown(current[member])}`)
  return [...avroTypeBreaks(released.type, current.type, place), ...others]
}

/** A record within may have new fields as the outermost may, wherever it stands; nothing else of a type may change. */
function avroTypeBreaks(released: Json, current: Json, place: string): string[] {
  if (Array.isArray(released) && Array.isArray(current) && released.length === current.length) {
    return released.flatMap((branch, index) => avroTypeBreaks(branch, current[index], place))
  }
  const kind = isObject(released) && isObject(current) && released.type === current.type ? released.type : null
  if (kind === 'record') return avroBreaks(released, current, place)
  if (kind === 'array') return avroTypeBreaks(released.items, current.items, place)
  if (kind === 'map') return avroTypeBreaks(released.values, current.values, place)
  if (isDeepStrictEqual(withoutDocs(released), withoutDocs(current))) return []
  return [`${place}: type was ${shown(released)} and is ${shown(current)}`]
}

function isObject(value: Json): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function withoutDocs(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutDocs)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !ANNOTATIONS.has(name))
      .map(([name, member]) => [name, withoutDocs(member)]),
  )
}

function shown(value: Json): string {
  return value === undefined ? 'absent' : JSON.stringify(value)
}
