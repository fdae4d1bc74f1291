/** JSON objects as text: a payload is checked by parsing it and passed on as the device wrote it, digit for digit. */

import { isUtf8 } from 'node:buffer'
import { membersOf } from '../../shared/json-members.ts'

/** Why a record cannot be passed on; `code` is stable. */
export interface Rejection {
  readonly code: string
  readonly message: string
}

export interface JsonObject {
  readonly text: string
  readonly fields: Readonly<Record<string, unknown>>
}

export function isRejection(result: object): result is Rejection {
  return 'code' in result
}

/** The object in a payload, or why there is none. */
export function parseJsonObject(payload: Buffer): JsonObject | Rejection {
  const text = payload.toString('utf8')
  // Decoding puts U+FFFD in the place of bytes that are no UTF-8; only then is the slower check worth its time.
  if (text.includes('\ufffd') && !isUtf8(payload))
    return { code: 'NOT_JSON', message: 'the payload is not valid UTF-8' }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return {
      code: 'NOT_JSON',
      message: text.length === 0 ? 'the payload is empty' : 'the payload is not JSON',
    }
  }
  if (Array.isArray(value)) {
    const message = `an array of ${value.length} is more than a gateway takes apart (mqtt.batchReadingsMax)`
    return { code: 'BATCH_TOO_LARGE', message }
  }
  if (typeof value !== 'object' || value === null) {
    return {
      code: 'NOT_AN_OBJECT',
      message: 'the payload is JSON but not an object',
    }
  }
  return { text, fields: value as Record<string, unknown> }
}

const SIMPLE_VALUE = String.raw`(?:"[^"\\]*"|[-+.0-9eE]+)`

/** A function that takes the member `name` out of the text of a JSON object; all else stays as it was written. */
export function memberRemover(name: string): (text: string) => string {
  const quoted = JSON.stringify(name)
  // First or last member with a plain value, which is how devices write it. Anchored to the object's own braces, so
  // that neither a nested member nor text inside a string can match.
  const first = new RegExp(String.raw`^\s*\{\s*${quoted}\s*:\s*${SIMPLE_VALUE}\s*,`)
  const last = new RegExp(String.raw`,\s*${quoted}\s*:\s*${SIMPLE_VALUE}\s*\}\s*$`)
  return (text) => {
    const at = text.indexOf(quoted)
    if (at >= 0 && at === text.lastIndexOf(quoted)) {
      const found = at < 32 ? first.exec(text) : null
      if (found !== null) return `{${text.slice(found[0].length)}`
      const end = last.exec(text.slice(Math.max(0, at - 32)))
      if (end !== null) return `${text.slice(0, text.length - end[0].length)}}`
    }
    return withoutMember(text, name)
  }
}

/** The text of the value of the own member `name` of a valid JSON object, as it was written; null when there is none. */
export function memberText(text: string, name: string): string | null {
  let value: string | null = null
  for (const member of membersOf(text)) {
    // The last of a doubled member counts, as it does for JSON.parse.
    if (member.name === name) value = text.slice(member.valueFrom, member.to)
  }
  return value
}

/** The text of a valid JSON object without its own members called `name`. */
function withoutMember(text: string, name: string): string {
  const kept = membersOf(text).filter((member) => member.name !== name)
  return `{${kept.map(({ from, to }) => text.slice(from, to)).join(',')}}`
}
