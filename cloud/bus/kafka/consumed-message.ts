/** A message as kafkajs reads it, as a record of the bus. */

import type { IHeaders, KafkaMessage } from 'kafkajs'
import type { ConsumedRecord } from '../bus.ts'

export function recordOf(topic: string, partition: number, message: KafkaMessage): ConsumedRecord {
  return {
    topic,
    partition,
    offset: BigInt(message.offset),
    key: message.key === null ? null : message.key.toString(),
    value: message.value ?? EMPTY,
    headers: headersOf(message.headers),
    timestampMs: Number(message.timestamp),
  }
}

const EMPTY = Buffer.alloc(0)

/** Of a header that comes several times the last one counts. */
function headersOf(headers: IHeaders | undefined): Readonly<Record<string, string>> {
  const result: Record<string, string> = {}
  for (const name in headers) {
    const value = headers[name]
    const last = Array.isArray(value) ? value[value.length - 1] : value
    if (last !== undefined) result[name] = typeof last === 'string' ? last : last.toString()
  }
  return result
}
