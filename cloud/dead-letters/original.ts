/** What a dead letter was before it became one, digit for digit: the reverse of cloud/bus/dead-letter.ts. Pure. */

import { isUtf8 } from 'node:buffer'
import { membersOf } from '../../shared/json-members.ts'
import { isObject } from '../../shared/json-object.ts'

/** Why something cannot be done with a dead letter; `code` is stable. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

export type Original = { readonly value: Buffer } | Refusal

/** @param letters values of all dead letters that it is spread over, in the order of the parts. */
export function originalOf(letters: readonly Buffer[]): Original {
  const [only] = letters
  if (letters.length === 1 && only !== undefined) return restored(only)
  const parts: Buffer[] = []
  for (const letter of letters) {
    const part = rawOf(letter)
    if (part === null) return { code: 'UNRESTORABLE', message: 'a part of it has no "raw" in base64' }
    parts.push(part)
  }
  return { value: Buffer.concat(parts) }
}

export function isRefusal(result: object): result is Refusal {
  return 'code' in result
}

function restored(letter: Buffer): Original {
  const raw = rawOf(letter)
  if (raw !== null) return { value: raw }
  const text = textOf(letter)
  if (text === null || parsedObject(text) === null) {
    return { code: 'UNRESTORABLE', message: 'it is no JSON object, so what it was before cannot be known' }
  }
  // One without an error is a record of others, put on the topic as it was.
  return { value: Buffer.from(withoutError(text)) }
}

/** The bytes of a letter that is `{"raw","error"}` and nothing else. */
function rawOf(letter: Buffer): Buffer | null {
  const text = textOf(letter)
  const fields = text === null ? null : parsedObject(text)
  if (fields === null || Object.keys(fields).toSorted().join() !== 'error,raw') return null
  const { raw } = fields
  if (typeof raw !== 'string') return null
  const bytes = Buffer.from(raw, 'base64')
  return bytes.toString('base64') === raw ? bytes : null
}

/** All else stays as it was written. Whoever added an error to one that had another added it last. */
function withoutError(text: string): string {
  const members = membersOf(text)
  const at = members.findLastIndex(({ name }) => name === 'error')
  const [error, before, after] = [members[at], members[at - 1], members[at + 1]]
  if (error === undefined) return text
  if (before !== undefined) return text.slice(0, text.lastIndexOf(',', error.from)) + text.slice(error.to)
  return text.slice(0, error.from) + text.slice(after === undefined ? error.to : after.from)
}

function textOf(letter: Buffer): string | null {
  return isUtf8(letter) ? letter.toString('utf8') : null
}

function parsedObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : null
  } catch {
    return null
  }
}
