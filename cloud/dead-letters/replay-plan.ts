/** What a replay of one dead letter publishes, or why it cannot be replayed. Pure. */

import { messageOf } from '../../shared/errors.ts'
import type { BusRecord, ConsumedRecord } from '../bus/bus.ts'
import { catalogue } from '../bus/catalogue.ts'
import type { Unusable } from '../bus/record-consumer.ts'
import type { DeadLetter } from './dead-letter-rows.ts'
import { type Original, originalOf, type Refusal } from './original.ts'

/** Says of a record of its topic whether the consumer of that topic would take it. */
type Decoder = (record: ConsumedRecord) => object | Unusable

/** By topic. */
export type Decoders = ReadonlyMap<string, Decoder>

export interface ReplayRecord {
  readonly topic: string
  readonly record: BusRecord & { readonly value: Buffer }
}

/** Names the dead letter that a record was replayed from. */
const REPLAY_HEADER = 'replayOf'
/** Headers that its becoming a dead letter gave it. */
const DEAD_LETTER_HEADERS = [
  'originalTopic',
  'originalPartition',
  'originalOffset',
  'originalSource',
  'source',
  'part',
  REPLAY_HEADER,
]
/** Topics that dead letters come from. */
const CONSUMED_TOPICS: ReadonlySet<string> = new Set(
  catalogue().flatMap(({ topic, deadLetterTopic }) => (deadLetterTopic === null ? [] : [topic])),
)

/** The value that it had before. @param values of its parts. */
export function restore(letter: DeadLetter, values: ReadonlyMap<number, Buffer | null>): Original {
  const letters: Buffer[] = []
  for (let part = 1; part <= letter.parts; part++) {
    const value = values.get(part)
    if (value === undefined) {
      return { code: 'PARTS_MISSING', message: `part ${part} of ${letter.parts} is not in the list (any more)` }
    }
    if (value === null) {
      const message = 'it was too large to be kept (deadLetters.valueBytesMax); it can be looked at on its topic'
      return { code: 'VALUE_NOT_KEPT', message }
    }
    letters.push(value)
  }
  return originalOf(letters)
}

/** Its headers as they were before, and which dead letter it comes from. */
export function originalHeaders(letter: DeadLetter): Readonly<Record<string, string>> {
  const headers = Object.entries(letter.headers).filter(([name]) => !DEAD_LETTER_HEADERS.includes(name))
  const { originalSource: source } = letter.headers
  return { ...Object.fromEntries(headers), ...(source === undefined ? {} : { source }), [REPLAY_HEADER]: letter.id }
}

/** For a dead letter whose original was a record of the bus. */
export function planRecord(
  letter: DeadLetter,
  value: Buffer,
  decoders: Decoders,
  nowMs: number,
): ReplayRecord | Refusal {
  const { originalTopic: topic, key } = letter
  if (!CONSUMED_TOPICS.has(topic)) {
    return { code: 'TOPIC_UNKNOWN', message: `${topic} is no topic that dead letters come from` }
  }
  const replay = { topic, record: { key, value, headers: originalHeaders(letter) } }
  return unusable(replay, decoders, nowMs) ?? replay
}

/** Why the consumer of its topic would not take it now; null when it would, or nobody here consumes it. */
export function unusable({ topic, record }: ReplayRecord, decoders: Decoders, nowMs: number): Refusal | null {
  const decode = decoders.get(topic)
  if (decode === undefined) return null
  const { key, value, headers = {} } = record
  try {
    const decoded = decode({ topic, partition: 0, offset: 0n, key, value, headers, timestampMs: nowMs })
    return 'unusable' in decoded ? { code: decoded.unusable, message: decoded.message } : null
  } catch (error) {
    return { code: 'DECODE_FAILED', message: messageOf(error) }
  }
}
