/**
 * A record of a dead-letter topic, read as far as it can be: whoever wrote it, it ends in the list. Pure, and never throws.
 */

import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { isObject } from '../../shared/json-object.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import { storableReason } from '../database/stored-text.ts'

/** Code of one that does not say, in the shape of the contract, why it is one. */
export const CODE_UNKNOWN = 'UNKNOWN'
/** Code of one that is no JSON object: its bytes are all there is. */
export const CODE_UNREADABLE = 'UNREADABLE'
/** Ids: topic.partition.offset. */
export const DEAD_LETTER_ID = /^[A-Za-z0-9._-]{1,249}\.\d{1,10}\.\d{1,16}$/

/** A larger value is not looked into. */
const READ_BYTES_MAX = 16 * 1024 * 1024
/** Key and headers that are larger, as JSON, count as too large to be kept. */
const ENVELOPE_LENGTH_MAX = 256 * 1024
const PARTS_MAX = 1_000
/** Of Kafka. */
const TOPIC_LENGTH_MAX = 249
const INTEGER_MAX = 2 ** 31 - 1
/** End of the year 9999. */
const WALL_MS_MAX = 253_402_300_799_999

/** What of a dead letter is kept exactly as it is on its topic. */
export interface Envelope {
  readonly key: string | null
  readonly headers: Readonly<Record<string, string>>
}

export interface Letter extends Envelope {
  readonly id: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** As its header says, else as the name of the dead-letter topic does. */
  readonly originalTopic: string
  /** Who gave it up; null when it does not say. */
  readonly source: string | null
  readonly code: string
  readonly message: string
  readonly retryCount: number
  /** When it was given up, Unix milliseconds. */
  readonly failedAtMs: number
  /** When the bus took it in, Unix milliseconds; never later than it was read. */
  readonly createdAtMs: number
  /** The same as the bus says it. */
  readonly timestampMs: number
  /** From 1. */
  readonly part: number
  readonly parts: number
  /** The same for all parts of one value; null for one that is whole. */
  readonly setId: string | null
  readonly valueBytes: number
  /** The dead letter as it is on its topic; null when it is too large to be kept, and then there are no headers either. */
  readonly value: Buffer | null
}

/** @param nowMs Unix milliseconds. */
export function readLetter(record: ConsumedRecord, valueBytesMax: number, nowMs: number): Letter {
  const { topic, partition, value, key, headers } = record
  const offset = Number(record.offset)
  const now = Math.round(nowMs)
  const { timestampMs } = record
  const createdAtMs = timestampMs > 0 && timestampMs <= now ? Math.floor(timestampMs) : now
  const told = errorOf(value)
  const failedAtMs = told.failedAtMs ?? createdAtMs
  const isKept = value.length <= valueBytesMax && JSON.stringify({ key, headers }).length <= ENVELOPE_LENGTH_MAX
  const source = storableReason(headers['source']) || null
  const { part, parts } = partOf(headers['part'])
  return {
    id: `${topic}.${partition}.${offset}`,
    topic,
    partition,
    offset,
    originalTopic:
      storableReason(headers['originalTopic'])?.slice(0, TOPIC_LENGTH_MAX) || topic.replace(/-dl[tq]$/, ''),
    source,
    code: told.code,
    message: told.message,
    retryCount: told.retryCount,
    failedAtMs,
    createdAtMs,
    timestampMs: Number.isSafeInteger(timestampMs) ? timestampMs : 0,
    part,
    parts,
    setId: parts === 1 ? null : setIdOf(topic, headers, told.code, failedAtMs),
    key: isKept ? key : storableReason(key),
    headers: isKept ? headers : {},
    valueBytes: value.length,
    value: isKept ? value : null,
  }
}

/** The `error` of a dead letter, in full; null when it has none that can be read. */
export function readError(value: Buffer): Readonly<Record<string, unknown>> | null {
  const error = objectOf(value)?.['error']
  return isObject(error) ? error : null
}

interface Told {
  readonly code: string
  readonly message: string
  readonly retryCount: number
  readonly failedAtMs: number | null
}

function errorOf(value: Buffer): Told {
  const unknown = { retryCount: 0, failedAtMs: null }
  const letter = objectOf(value)
  if (letter === null) return { ...unknown, code: CODE_UNREADABLE, message: 'the dead letter is no JSON object' }
  const { error } = letter
  if (!isObject(error)) return { ...unknown, code: CODE_UNKNOWN, message: 'the dead letter does not say why' }
  const { code, message, timestamp, retryCount } = error
  const failedAtMs = typeof timestamp === 'string' ? Date.parse(timestamp) : Number.NaN
  return {
    code: (typeof code === 'string' && storableReason(code)?.slice(0, 100).toWellFormed()) || CODE_UNKNOWN,
    message: (typeof message === 'string' && storableReason(message)) || 'the dead letter does not say why',
    retryCount: isCount(retryCount) ? retryCount : 0,
    failedAtMs: failedAtMs >= 0 && failedAtMs <= WALL_MS_MAX ? failedAtMs : null,
  }
}

/** `2/3`; anything else means that it is whole. */
function partOf(header: string | undefined): { part: number; parts: number } {
  const [, part, parts] = /^(\d{1,4})\/(\d{1,4})$/.exec(header ?? '') ?? []
  const read = { part: Number(part), parts: Number(parts) }
  return read.part >= 1 && read.part <= read.parts && read.parts <= PARTS_MAX ? read : { part: 1, parts: 1 }
}

/** Written twice, as after a crash, it is two sets: the time at which it was given up is another one. */
function setIdOf(topic: string, headers: Readonly<Record<string, string>>, code: string, failedAtMs: number): string {
  const { source, originalTopic, originalPartition, originalOffset, gateway, epoch, seq, part } = headers
  const parts = part?.slice(part.indexOf('/'))
  const named = [topic, source, originalTopic, originalPartition, originalOffset, gateway, epoch, seq]
  return createHash('sha256')
    .update(JSON.stringify([...named, parts, code, failedAtMs]))
    .digest('hex')
    .slice(0, 32)
}

function objectOf(value: Buffer): Readonly<Record<string, unknown>> | null {
  if (value.length > READ_BYTES_MAX || !isUtf8(value)) return null
  try {
    const parsed: unknown = JSON.parse(value.toString('utf8'))
    return isObject(parsed) ? parsed : null
  } catch {
    return null
  }
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= INTEGER_MAX
}
