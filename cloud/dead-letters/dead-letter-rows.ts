/** Rows of dead letters: what is stored of one, what is shown of one, and which ones are meant. */

import { type ExpressionBuilder, type Insertable, type RawBuilder, type Selectable, sql } from 'kysely'
import type { Database, DeadLettersTable } from '../database/schema.ts'
import { storableReason } from '../database/stored-text.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { DEAD_LETTER_ID, type Envelope, type Letter } from './letter.ts'

/** What is listed of a dead letter. */
export interface DeadLetter extends Omit<Letter, 'setId' | 'value' | 'part' | 'timestampMs'> {
  /** False for one that was too large to be kept: it can be looked at on its topic only. */
  readonly isKept: boolean
  /** When it was replayed last, Unix milliseconds. */
  readonly replayedAtMs: number | null
  readonly replays: number
}

/** All that are given must hold. */
export interface DeadLetterFilter {
  /** The topic that it was on or meant for, or the dead-letter topic that it is on. */
  readonly topic?: string | undefined
  readonly code?: string | undefined
  readonly source?: string | undefined
  readonly key?: string | undefined
  /** When the bus took it in: at that time or later, Unix milliseconds. */
  readonly sinceMs?: number | undefined
  /** Before that time. */
  readonly untilMs?: number | undefined
  readonly replayed?: boolean | undefined
}

/** Everything that is shown but the value. */
export const LISTED = [
  'id',
  'topic',
  'partition',
  'record_offset',
  'original_topic',
  'source',
  'code',
  'message',
  'retry_count',
  'failed_at_ms',
  'created_at_ms',
  'parts',
  'replayed_at_ms',
  'replays',
  'value_bytes',
  'envelope',
] as const satisfies readonly (keyof DeadLettersTable)[]

/** Every column but the id. */
export const STORED = [
  ...LISTED.filter((column) => column !== 'id'),
  ...(['key', 'part', 'set_id', 'claim', 'claimed_until_ms', 'timestamp_ms', 'value'] as const),
]

export type ListedRow = Pick<Selectable<DeadLettersTable>, (typeof LISTED)[number]> & { readonly is_kept: number }

export function toRow(letter: Letter): Insertable<DeadLettersTable> {
  const { key, headers } = letter
  return {
    id: letter.id,
    topic: letter.topic,
    partition: letter.partition,
    record_offset: letter.offset,
    original_topic: letter.originalTopic,
    key: storableReason(key),
    source: letter.source,
    code: letter.code,
    message: letter.message,
    retry_count: letter.retryCount,
    failed_at_ms: letter.failedAtMs,
    created_at_ms: letter.createdAtMs,
    part: letter.part,
    parts: letter.parts,
    set_id: letter.setId,
    replayed_at_ms: null,
    replays: 0,
    claim: null,
    claimed_until_ms: null,
    value_bytes: letter.valueBytes,
    timestamp_ms: letter.timestampMs,
    // JSON escapes what PostgreSQL has no text for: a NUL, half a surrogate pair.
    envelope: JSON.stringify({ key, headers } satisfies Envelope),
    value: letter.value,
  }
}

export function toDeadLetter(row: ListedRow): DeadLetter {
  const { key, headers } = JSON.parse(row.envelope) as Envelope
  return {
    id: row.id,
    topic: row.topic,
    partition: row.partition,
    offset: row.record_offset,
    originalTopic: row.original_topic,
    key,
    headers,
    source: row.source,
    code: row.code,
    message: row.message,
    retryCount: row.retry_count,
    failedAtMs: row.failed_at_ms,
    createdAtMs: row.created_at_ms,
    parts: row.parts,
    valueBytes: row.value_bytes,
    isKept: row.is_kept === 1,
    replayedAtMs: row.replayed_at_ms,
    replays: row.replays,
  }
}

/** Those that are meant; of a value in parts the first alone stands for it. */
export function matches(filter: DeadLetterFilter) {
  const { topic, code, source, key, sinceMs, untilMs, replayed } = filter
  return (row: ExpressionBuilder<Database, 'dead_letters'>) =>
    row.and([
      // Written out, since SQLite looks for the index of those that are open, or replayed, before it knows parameters.
      sql<boolean>`part = 1`,
      ...(topic === undefined ? [] : [row(/-dl[tq]$/.test(topic) ? 'topic' : 'original_topic', '=', topic)]),
      ...(code === undefined ? [] : [row('code', '=', code)]),
      ...(source === undefined ? [] : [row('source', '=', source)]),
      ...(key === undefined ? [] : [row('key', '=', storableReason(key))]),
      ...(sinceMs === undefined ? [] : [row('created_at_ms', '>=', sinceMs)]),
      ...(untilMs === undefined ? [] : [row('created_at_ms', '<', untilMs)]),
      ...(replayed === undefined ? [] : [row('replayed_at_ms', replayed ? 'is not' : 'is', null)]),
    ])
}

/** Where a dead letter stands among all: by time, then as its partition had it. */
export interface Place {
  readonly createdAtMs: number
  readonly offset: number
  readonly id: string
}

export function placeKey({ createdAtMs, offset, id }: Place): string {
  return `${createdAtMs}/${offset}/${id}`
}

/** @param cursor as it was given, for the error. @throws InvalidRegistrationError */
export function readPlace(key: string, cursor: string | undefined): Place {
  const [, ms = '', offset = '', id = ''] = /^(\d{1,15})\/(\d{1,16})\/(.+)$/.exec(key) ?? []
  const place = { createdAtMs: Number(ms), offset: Number(offset), id }
  if (DEAD_LETTER_ID.test(id) && Number.isSafeInteger(place.offset)) return place
  throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
}

/** Rows after the place in that direction. The bound on the time alone lets SQLite begin in the index where the page does. */
export function beyond({ createdAtMs, offset, id }: Place, direction: 'older' | 'newer'): RawBuilder<boolean> {
  const [atMost, less] = direction === 'older' ? [sql`<=`, sql`<`] : [sql`>=`, sql`>`]
  return sql<boolean>`(created_at_ms ${atMost} ${createdAtMs} and (created_at_ms ${less} ${createdAtMs}
    or record_offset ${less} ${offset} or (record_offset = ${offset} and id ${less} ${id})))`
}
