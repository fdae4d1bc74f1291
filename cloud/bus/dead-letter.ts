/**
 * Dead letters of consumers: a record that no retry can mend is kept with the reason. A JSON object keeps its members
 * and gets an `error`; anything else is kept byte for byte in `raw`, base64.
 */

import type { BusRecord, ConsumedRecord } from './bus.ts'

/** Bytes of `raw` before base64 in one record, well below what a broker takes; more is kept in several records. */
const RAW_BYTES_MAX = 512 * 1024

export interface DeadLetterReason {
  /** The consumer group that gave it up. */
  readonly source: string
  /** Stable, upper snake case. */
  readonly code: string
  readonly message: string
  readonly retryCount: number
  /** When it was given up, Unix milliseconds. */
  readonly atMs: number
}

/** What to publish to `deadLetterTopicOf(record.topic)`: one record, unless a raw value is larger than 512 KiB. */
export function deadLetters(record: ConsumedRecord, reason: DeadLetterReason): BusRecord[] {
  const { source, code, message, retryCount, atMs } = reason
  const error = { code, message, timestamp: new Date(atMs).toISOString(), retryCount }
  const headers = {
    ...record.headers,
    source,
    originalTopic: record.topic,
    originalPartition: String(record.partition),
    originalOffset: String(record.offset),
  }
  const members = membersOf(record.value)
  // A value with an `error` of its own would lose it.
  if (members !== null && !('error' in members)) {
    return [{ key: record.key, value: JSON.stringify({ ...members, error }), headers }]
  }
  const parts = Math.max(1, Math.ceil(record.value.length / RAW_BYTES_MAX))
  return Array.from({ length: parts }, (_, part) => {
    const raw = record.value.subarray(part * RAW_BYTES_MAX, (part + 1) * RAW_BYTES_MAX).toString('base64')
    return {
      key: record.key,
      value: JSON.stringify({ raw, error }),
      headers: parts === 1 ? headers : { ...headers, part: `${part + 1}/${parts}` },
    }
  })
}

/** The members of a JSON object that JSON can carry again unchanged, otherwise null. */
function membersOf(value: Buffer): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(value.toString('utf8'))
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return null
    return parsed as Record<string, unknown>
  } catch {
    return null
  }
}
