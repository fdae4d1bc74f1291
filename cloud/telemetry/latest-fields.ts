/**
 * The latest value of every field of a device. Merging is idempotent and, but for two values of one field at one time,
 * does not depend on order: the later event time wins, and of two equal ones the one merged last.
 */

/** Fields kept of one device; beyond it those with the oldest event time go. */
export const FIELDS_MAX = 512
/** Length of a field's name and of its value as JSON, characters; a longer one is not kept as a latest value. */
export const FIELD_CHARS_MAX = 4_096

export interface FieldValue {
  readonly value: unknown
  /** Event time, Unix milliseconds. */
  readonly atMs: number
}

export interface DeviceFields {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  readonly fields: Map<string, FieldValue>
  /** Latest event time of any reading, Unix milliseconds. */
  eventAtMs: number
  /** When the gateway received that reading, Unix milliseconds. */
  receivedAtMs: number
}

/** Counts of what was not kept, by reason. */
export interface FieldDrops {
  tooLong: number
  tooMany: number
}

/** Merges one reading's fields into `into`. */
export function mergeReading(
  into: DeviceFields,
  fields: Readonly<Record<string, unknown>>,
  atMs: number,
  drops: FieldDrops,
): void {
  for (const name of Object.keys(fields)) {
    const known = into.fields.get(name)
    if (known !== undefined && known.atMs > atMs) continue
    const value = fields[name]
    if (isTooLong(name, value)) drops.tooLong++
    else into.fields.set(name, { value, atMs })
  }
  if (into.fields.size > FIELDS_MAX) dropOldest(into.fields, drops)
}

/** Merges `later`, which came after `into`, into it; true when anything changed. */
export function mergeFields(into: DeviceFields, later: DeviceFields, drops: FieldDrops): boolean {
  let changed = false
  for (const [name, field] of later.fields) {
    const known = into.fields.get(name)
    if (known !== undefined && (known.atMs > field.atMs || isSame(known, field))) continue
    into.fields.set(name, field)
    changed = true
  }
  if (
    later.eventAtMs > into.eventAtMs ||
    (later.eventAtMs === into.eventAtMs && later.receivedAtMs !== into.receivedAtMs)
  ) {
    into.eventAtMs = later.eventAtMs
    into.receivedAtMs = later.receivedAtMs
    changed = true
  }
  if (into.fields.size > FIELDS_MAX) dropOldest(into.fields, drops)
  return changed
}

/** JSON object: field name → [value, event time]. */
export function encodeFields(fields: ReadonlyMap<string, FieldValue>): string {
  const members: string[] = []
  for (const [name, { value, atMs }] of fields)
    members.push(`${JSON.stringify(name)}:[${JSON.stringify(value)},${atMs}]`)
  return `{${members.join(',')}}`
}

export function decodeFields(text: string): Map<string, FieldValue> {
  const members = JSON.parse(text) as Record<string, [unknown, number]>
  return new Map(Object.entries(members).map(([name, [value, atMs]]) => [name, { value, atMs }]))
}

function isTooLong(name: string, value: unknown): boolean {
  if (name.length > FIELD_CHARS_MAX) return true
  if (typeof value === 'string') return value.length > FIELD_CHARS_MAX
  return typeof value === 'object' && value !== null && JSON.stringify(value).length > FIELD_CHARS_MAX
}

function isSame(a: FieldValue, b: FieldValue): boolean {
  if (a.atMs !== b.atMs) return false
  if (a.value === b.value) return true
  return typeof a.value === 'object' && JSON.stringify(a.value) === JSON.stringify(b.value)
}

function dropOldest(fields: Map<string, FieldValue>, drops: FieldDrops): void {
  const oldestFirst = [...fields].sort(([, a], [, b]) => a.atMs - b.atMs)
  for (const [name] of oldestFirst.slice(0, fields.size - FIELDS_MAX)) {
    fields.delete(name)
    drops.tooMany++
  }
}
