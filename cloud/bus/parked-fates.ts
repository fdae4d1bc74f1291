/** What becomes of lanes that are retried: decisions without any effect. */

import { messageOf } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { storableReason } from '../database/stored-text.ts'
import type { ConsumedRecord } from './bus.ts'
import { type ConsumedItem, codeOf, decoded, type Unusable } from './consumed-item.ts'
import type { GivenUp } from './given-up.ts'
import type { LaneFate, LaneRow, RecordRow } from './parked-rows.ts'
import { isExhausted, pauseAfterMs, type RetryPolicy } from './retry-policy.ts'

/** What of a consumer its retries need. */
export interface RetriedConsumer<T extends object> {
  readonly name: string
  readonly group: string
  readonly topics: readonly string[]
  readonly decode: (record: ConsumedRecord) => T | Unusable
  readonly handle: (items: readonly ConsumedItem<T>[]) => Promise<void>
  readonly policy: RetryPolicy
}

/** A record that is tried. */
export interface Attempt<T> extends ConsumedItem<T> {
  /** Id of its lane, as text. */
  readonly lane: string
  readonly row: RecordRow
  /** That failed before. */
  readonly tries: number
}

export interface GivenUpRow {
  readonly row: RecordRow
  readonly letter: GivenUp
}

export interface Prepared<T> {
  readonly attempts: readonly Attempt<T>[]
  /** What needs no trying. */
  readonly givenUp: GivenUpRow[]
  /** The first record of each lane, by the lane's id. */
  readonly heads: ReadonlyMap<number, RecordRow>
}

/** Of the first records of lanes, in the order of each. The tries of a lane are those of its first record. */
export function prepare<T extends object>(
  { decode, policy }: RetriedConsumer<T>,
  open: ReadonlyMap<number, LaneRow>,
  rows: readonly RecordRow[],
): Prepared<T> {
  const attempts: Attempt<T>[] = []
  const givenUp: GivenUpRow[] = []
  const heads = new Map<number, RecordRow>()
  for (const row of rows) {
    const id = row.lane_id
    const lane = open.get(id) as LaneRow
    const isHead = !heads.has(id)
    if (isHead) heads.set(id, row)
    const tries = isHead ? lane.tries : 0
    const record = recordOf(lane.topic, row)
    const value = decoded(decode, record)
    if ('unusable' in value) {
      givenUp.push({ row, letter: { record, code: value.unusable, message: value.message, retryCount: tries } })
    } else if (isExhausted(tries, policy)) {
      // It had its tries before it was set aside, or was to have more before the settings changed.
      const [code, message] = [lane.error_code ?? 'HANDLER_FAILED', lane.error ?? '']
      givenUp.push({ row, letter: { record, code, message, retryCount: tries } })
    } else {
      attempts.push({ lane: String(id), row, record, value, tries })
    }
  }
  return { attempts, givenUp, heads }
}

export interface Patience {
  readonly policy: RetryPolicy
  readonly random: Random
  readonly nowMs: number
  /** No pause is waited for. */
  readonly hurry: boolean
}

/** Of the lane of a record that failed by itself; of the record alone when it is given up. */
export function fateOfFailed<T>(
  attempt: Attempt<T>,
  error: unknown,
  { policy, random, nowMs, hurry }: Patience,
): LaneFate | GivenUpRow {
  const { row, record } = attempt
  const tries = attempt.tries + 1
  const code = codeOf(error)
  const pauseMs = pauseAfterMs(tries, policy, random)
  if (pauseMs === null) return { row, letter: { record, code, message: messageOf(error), retryCount: tries } }
  const dueAtMs = nowMs + (hurry ? 0 : pauseMs)
  return { id: row.lane_id, tries, errorCode: code, error: storableReason(messageOf(error)), dueAtMs, held: 0 }
}

/** Of a lane that did not fail. */
export function fateOf(row: LaneRow, headDone: boolean, nowMs: number, held: 0 | 1): LaneFate {
  const { id, tries, error_code, error } = row
  if (headDone) return { id, tries: 0, errorCode: null, error: null, dueAtMs: nowMs, held }
  return { id, tries, errorCode: error_code, error, dueAtMs: nowMs, held }
}

function recordOf(topic: string, row: RecordRow): ConsumedRecord {
  const { partition, record_offset, timestamp_ms, key, headers, value } = row
  return {
    topic,
    partition,
    offset: BigInt(record_offset),
    key: key === null ? null : (JSON.parse(key) as string),
    value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    headers: JSON.parse(headers) as Record<string, string>,
    timestampMs: timestamp_ms,
  }
}
