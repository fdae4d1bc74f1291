/**
 * Dead letters: a record that no retry can mend is kept with the reason. A JSON object keeps its members, digit for digit,
 * and gets an `error`; anything else is kept byte for byte in `raw`, base64. No dead letter is larger than a broker takes:
 * one that it refused would be tried for ever, and stop its partition. A `source` of its own is kept as `originalSource`,
 * since the dead letter says there who gave it up.
 */

import { isUtf8 } from 'node:buffer'
import type { BusRecord, ConsumedRecord } from './bus.ts'

/** Bytes of `raw` before base64 in one record, well below what a broker takes; more is kept in several records. */
export const RAW_BYTES_MAX = 512 * 1024
/** A larger object is kept in `raw` as well. */
const OBJECT_BYTES_MAX = 768 * 1024
/** A message may quote the record; the rest of a longer one is left out. */
const MESSAGE_LENGTH_MAX = 2_000

export interface DeadLetterReason {
  /** Who gave it up: a consumer group, or `ingest`. */
  readonly source: string
  /** Stable, upper snake case. */
  readonly code: string
  readonly message: string
  readonly retryCount: number
  /** When it was given up, Unix milliseconds. */
  readonly atMs: number
}

/** What was given up: of the bus, or meant for it. */
export interface Undeliverable {
  /** Topic that it was on or meant for. */
  readonly topic: string
  readonly key: string | null
  readonly value: Buffer
  readonly headers: Readonly<Record<string, string>>
}

/** The dead letters of a consumed record, with where it stood. */
export function deadLetters(record: ConsumedRecord, reason: DeadLetterReason): BusRecord[] {
  const position = { originalPartition: String(record.partition), originalOffset: String(record.offset) }
  return deadLettersOf({ ...record, headers: { ...record.headers, ...position } }, reason)
}

/** What to publish to `deadLetterTopicOf(topic)`: one record, unless a raw value is larger than `RAW_BYTES_MAX`. */
export function deadLettersOf(undeliverable: Undeliverable, reason: DeadLetterReason): BusRecord[] {
  const { topic, key, value } = undeliverable
  const { source, code, retryCount, atMs } = reason
  const message = reason.message.slice(0, MESSAGE_LENGTH_MAX)
  const error = JSON.stringify({ code, message, timestamp: new Date(atMs).toISOString(), retryCount })
  const { source: originalSource } = undeliverable.headers
  const headers = {
    ...undeliverable.headers,
    ...(originalSource === undefined ? {} : { originalSource }),
    source,
    originalTopic: topic,
  }
  const members = membersOf(value)
  if (members !== null) {
    return [{ key, value: members.trim() === '' ? `{"error":${error}}` : `{${members},"error":${error}}`, headers }]
  }
  const parts = Math.max(1, Math.ceil(value.length / RAW_BYTES_MAX))
  return Array.from({ length: parts }, (_, part) => {
    const raw = value.subarray(part * RAW_BYTES_MAX, (part + 1) * RAW_BYTES_MAX).toString('base64')
    return {
      key,
      value: `{"raw":"${raw}","error":${error}}`,
      headers: parts === 1 ? headers : { ...headers, part: `${part + 1}/${parts}` },
    }
  })
}

/**
 * The text between the braces of a JSON object, or null: for other values, for large ones, and for one that could not be told
 * from a dead letter afterwards, since it has an `error`, or `raw` and nothing else.
 */
function membersOf(value: Buffer): string | null {
  if (value.length > OBJECT_BYTES_MAX || !isUtf8(value)) return null
  const text = value.toString('utf8')
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) || 'error' in parsed) return null
    if ('raw' in parsed && Object.keys(parsed).length === 1) return null
  } catch {
    return null
  }
  return text.trim().slice(1, -1)
}
