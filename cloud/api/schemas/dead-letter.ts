/** A dead letter as the API shows it, and what of many is to be replayed. */

import { isUtf8 } from 'node:buffer'
import { Type } from '@sinclair/typebox'
import { isDeeper } from '../../../shared/json-depth.ts'
import {
  DEAD_LETTER_ID,
  type DeadLetter,
  type DeadLetterCount,
  type DeadLetterDetails,
  type ReplayResult,
} from '../../dead-letters/dead-letters.ts'
import { PAGE_LIMIT_MAX } from '../../registry/page.ts'
import { closed, InstantSchema, nullable, PAGE_QUERY, TimeSchema, time, timeOrNull } from './common.ts'

/** Ids of one request. */
const IDS_MAX = 500
/** Of a value that is no text, characters. */
const PREVIEW_LENGTH = 1_000
/** Levels of arrays and objects in a value that is shown as JSON; writing a deeper one takes the stack. */
const DEPTH_MAX = 64

export const DeadLetterIdSchema = Type.String({
  pattern: DEAD_LETTER_ID.source,
  description: 'Dead-letter topic, partition and offset: device-telemetry-dlt.2.41',
})

const text = (description: string, maxLength: number) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\x00]*$', description })

/** Members of the query of a listing and of the filter of a replay. */
export const DEAD_LETTER_FILTER = {
  topic: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9._-]{1,249}$',
      description: 'The topic that they were on or meant for, or the dead-letter topic that they are on',
    }),
  ),
  code: Type.Optional(text('The code of their error, such as UNKNOWN_DEVICE', 100)),
  source: Type.Optional(text('Who gave them up: a consumer group, or ingest', 500)),
  key: Type.Optional(text('Their key, such as the serial number of a device', 500)),
  since: Type.Optional({ ...InstantSchema, description: `Dead since then. ${InstantSchema.description}` }),
  until: Type.Optional({ ...InstantSchema, description: `Dead before then. ${InstantSchema.description}` }),
  replayed: Type.Optional(Type.Boolean({ description: 'Only those that were replayed, or only those that were not' })),
}

const ListedMembers = {
  id: DeadLetterIdSchema,
  topic: Type.String({ description: 'The dead-letter topic' }),
  partition: Type.Integer({ minimum: 0 }),
  offset: Type.Integer({ minimum: 0 }),
  originalTopic: Type.String({ description: 'The topic that it was on or meant for' }),
  key: nullable(Type.String()),
  source: nullable(Type.String({ description: 'A consumer group, or ingest; null when it does not say' })),
  code: Type.String({
    description: 'Of its error; UNKNOWN when it has none, UNREADABLE when it is no JSON object',
  }),
  message: Type.String({ description: 'Of its error, the beginning of it' }),
  retryCount: Type.Integer({ minimum: 0 }),
  failedAt: TimeSchema,
  createdAt: TimeSchema,
  parts: Type.Integer({ minimum: 1, description: 'Dead letters that its value is spread over; one stands for all' }),
  valueBytes: Type.Integer({ minimum: 0, description: 'Of the dead letter, or of its first part' }),
  kept: Type.Boolean({ description: 'False for one that was too large: its topic alone has it' }),
  replayedAt: nullable(TimeSchema),
  replays: Type.Integer({ minimum: 0 }),
  replayOf: nullable(Type.String({ description: 'The dead letter whose replay it comes from' })),
}

export const DeadLetterSchema = Type.Object(ListedMembers, {
  ...closed,
  $id: 'DeadLetter',
  description: 'A record that was given up, and why',
})

export const DeadLetterDetailsSchema = Type.Object(
  {
    ...ListedMembers,
    error: nullable(Type.Record(Type.String(), Type.Unknown(), { description: 'As it was written' })),
    headers: Type.Record(Type.String(), Type.String()),
    value: nullable(
      Type.Object(
        {
          restored: Type.Boolean({ description: 'True for what it was before; false for the dead letter itself' }),
          problem: nullable(Type.String({ description: 'Why it could not be restored' })),
          bytes: Type.Integer({ minimum: 0 }),
          json: Type.Optional(Type.Unknown({ description: 'When it is JSON; numbers are those of your parser' })),
          text: Type.String({ description: 'Digit for digit when it is UTF-8, otherwise a preview' }),
          base64: Type.Optional(Type.String({ description: 'When it is no JSON' })),
        },
        { ...closed, description: 'Null when it is not kept, or for others than you' },
      ),
    ),
  },
  { ...closed, $id: 'DeadLetterDetails' },
)

export const DeadLetterSummarySchema = Type.Object(
  {
    total: Type.Integer({ minimum: 0 }),
    items: Type.Array(
      Type.Object(
        {
          originalTopic: Type.String(),
          code: Type.String(),
          count: Type.Integer({ minimum: 1 }),
          replayed: Type.Integer({ minimum: 0 }),
          oldest: TimeSchema,
          newest: TimeSchema,
        },
        closed,
      ),
      { description: 'By topic and code, the most first' },
    ),
  },
  { ...closed, $id: 'DeadLetterSummary' },
)

export const DeadLetterReplaySchema = Type.Object(
  {
    ids: Type.Optional(Type.Array(DeadLetterIdSchema, { minItems: 1, maxItems: IDS_MAX })),
    filter: Type.Optional(Type.Object(DEAD_LETTER_FILTER, { ...closed, description: 'Empty for all of them' })),
    dryRun: Type.Optional(Type.Boolean({ description: 'Says what would happen and changes nothing' })),
    again: Type.Optional(Type.Boolean({ description: 'Those as well that were replayed before' })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: PAGE_LIMIT_MAX, description: 'Of a filter: how many at most; default 50' }),
    ),
    cursor: Type.Optional({ ...PAGE_QUERY.cursor, maxLength: 600, description: 'Of a filter: nextCursor of before' }),
  },
  { ...closed, $id: 'DeadLetterReplay', description: 'Either ids or a filter' },
)

const OUTCOMES = ['REPLAYED', 'WOULD_REPLAY', 'REFUSED', 'SKIPPED', 'NOT_FOUND', 'FAILED', 'LEFT'] as const

export const DeadLetterReplayResultSchema = Type.Object(
  {
    dryRun: Type.Boolean(),
    results: Type.Array(
      Type.Object(
        {
          id: DeadLetterIdSchema,
          outcome: Type.Union(
            OUTCOMES.map((outcome) => Type.Literal(outcome)),
            {
              description:
                'REFUSED: it cannot be replayed as things are. SKIPPED: it was replayed before, or is being replayed. FAILED: ' +
                'what it takes is away. LEFT: it did not fit, ask again.',
            },
          ),
          topic: nullable(Type.String({ description: 'Where it went; null when it went nowhere' })),
          key: nullable(Type.String()),
          bytes: nullable(Type.Integer({ minimum: 0 })),
          code: nullable(Type.String({ description: 'Why not; stable' })),
          message: nullable(Type.String({ description: 'For people' })),
        },
        closed,
      ),
      { description: 'Of a filter the oldest first, of ids in their order' },
    ),
    left: Type.Integer({ minimum: 0, description: 'How many of those meant were not looked at' }),
    nextCursor: nullable(Type.String({ description: 'Goes on with a filter; null when nothing is left' })),
  },
  { ...closed, $id: 'DeadLetterReplayResult' },
)

export function deadLetterBody(letter: DeadLetter) {
  return {
    id: letter.id,
    topic: letter.topic,
    partition: letter.partition,
    offset: letter.offset,
    originalTopic: letter.originalTopic,
    key: letter.key,
    source: letter.source,
    code: letter.code,
    message: letter.message,
    retryCount: letter.retryCount,
    failedAt: time(letter.failedAtMs),
    createdAt: time(letter.createdAtMs),
    parts: letter.parts,
    valueBytes: letter.valueBytes,
    kept: letter.isKept,
    replayedAt: timeOrNull(letter.replayedAtMs),
    replays: letter.replays,
    replayOf: letter.headers['replayOf'] ?? null,
  }
}

export function deadLetterDetailsBody({ letter, error, original, problem, value }: DeadLetterDetails) {
  const shown = original ?? value
  return {
    ...deadLetterBody(letter),
    error: isDeeper(error, DEPTH_MAX) ? null : error,
    headers: letter.headers,
    value: shown === null ? null : { restored: original !== null, problem, ...valueBody(shown) },
  }
}

export function deadLetterSummaryBody(counts: readonly DeadLetterCount[]) {
  return {
    total: counts.reduce((sum, { count }) => sum + count, 0),
    items: counts.map(({ originalTopic, code, count, replayed, oldestMs, newestMs }) => ({
      originalTopic,
      code,
      count,
      replayed,
      oldest: time(oldestMs),
      newest: time(newestMs),
    })),
  }
}

export function replayBody({ dryRun, results, left, next }: ReplayResult) {
  return { dryRun, results, left, nextCursor: next }
}

function valueBody(value: Buffer): { bytes: number; text: string; json?: unknown; base64?: string } {
  const bytes = value.length
  const whole = value.toString('utf8')
  if (!isUtf8(value)) return { bytes, text: whole.slice(0, PREVIEW_LENGTH), base64: value.toString('base64') }
  try {
    const json: unknown = JSON.parse(whole)
    return isDeeper(json, DEPTH_MAX) ? { bytes, text: whole } : { bytes, json, text: whole }
  } catch {
    return { bytes, text: whole, base64: value.toString('base64') }
  }
}
