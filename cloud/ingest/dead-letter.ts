/**
 * Dead letters: what cannot be passed on is kept with the reason. A JSON object keeps its members and gets an `error`;
 * anything else is kept byte for byte in `raw`, base64.
 */

import type { BusRecord } from '../bus/bus.ts'
import { isRejection, parseJsonObject, type Rejection } from './json-object.ts'

/** Bytes of `raw` before base64 in one record: well below what a broker takes; more is kept in several records. */
export const RAW_BYTES_MAX = 512 * 1024

export interface DeadLetter {
  readonly key: string | null
  readonly payload: Buffer
  readonly reason: Rejection
  /** Topic of the bus that it was meant for. */
  readonly originalTopic: string
  /** gateway, seq, epoch and receivedAt, as on any record of the ingest. */
  readonly headers: Readonly<Record<string, string>>
  /** When it was given up, Unix milliseconds. */
  readonly atMs: number
}

/** The records of a dead letter: one, unless its payload is larger than `RAW_BYTES_MAX`. */
export function deadLetterRecords(letter: DeadLetter): BusRecord[] {
  const { key, payload, reason, originalTopic, atMs } = letter
  const headers = { ...letter.headers, source: 'ingest', originalTopic }
  const { code, message } = reason
  const error = JSON.stringify({
    code,
    message,
    timestamp: new Date(atMs).toISOString(),
    retryCount: 0,
  })
  const parsed = parseJsonObject(payload)
  // An object with an `error` of its own would lose it.
  if (!isRejection(parsed) && !('error' in parsed.fields)) {
    const members = parsed.text.trim().slice(1, -1).trim()
    const value = members === '' ? `{"error":${error}}` : `{${members},"error":${error}}`
    return [{ key, value, headers }]
  }
  const records: BusRecord[] = []
  const parts = Math.max(1, Math.ceil(payload.length / RAW_BYTES_MAX))
  for (let part = 0; part < parts; part++) {
    const raw = payload.subarray(part * RAW_BYTES_MAX, (part + 1) * RAW_BYTES_MAX).toString('base64')
    const partHeaders = parts === 1 ? headers : { ...headers, part: `${part + 1}/${parts}` }
    records.push({
      key,
      value: `{"raw":"${raw}","error":${error}}`,
      headers: partHeaders,
    })
  }
  return records
}
