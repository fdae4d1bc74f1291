/** What an answer to a produce request means for the batch. Error codes: kafka.apache.org/protocol#protocol_error_codes. */

import { findErrorBy } from '@platformatic/kafka'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import { batchTooLarge } from '../atomic.ts'

/**
 * - `stored`: it is there, this time or an earlier one.
 * - `away`: nobody answered, so it may or may not be there; counts against the breaker.
 * - `moved`: a broker answered that it cannot now; ask again after learning who leads.
 * - `reset`: the broker does not know our place in the sequence; begin a new one.
 * - `missing`: the topic or partition does not exist, as far as the broker knows.
 * - `unfit`: these records together will not be taken; fewer of them may be.
 * - `refused`: no record will be taken, however often it is sent.
 */
export type ProduceOutcome = 'stored' | 'away' | 'moved' | 'reset' | 'missing' | 'unfit' | 'refused'

const NONE = 0
const UNKNOWN_TOPIC_OR_PARTITION = 3
const DUPLICATE_SEQUENCE_NUMBER = 46
/** Out of order, unknown producer, fenced epoch, unknown mapping, invalid producer epoch. */
const RESET_CODES = new Set([45, 47, 49, 59, 90])
/** Message too large for the topic, record list too large for a segment. */
const TOO_LARGE_CODES = new Set([10, 18])
/** What is wrong with some record of the batch. */
const UNFIT_CODES = new Map<number, string>([
  [10, 'Raise max.message.bytes of the topic or send smaller records.'],
  [18, 'Raise segment.bytes of the topic or send smaller records.'],
  [32, "Check the clock: the broker refuses the record's time."],
  [44, "The topic's policy refuses the record."],
  [87, 'The broker calls the record invalid.'],
])
/** Denied by ACL or setting, codec or format not supported. */
const REFUSED_CODES = new Map<number, string>([
  [17, 'The topic name is not allowed.'],
  [21, 'The broker does not take acks=all.'],
  [29, 'Grant this client WRITE on the topic.'],
  [31, 'Grant this client IDEMPOTENT_WRITE on the cluster.'],
  [35, 'The broker is too old: Kafka 2.1 or later is needed.'],
  [43, 'Set message.format.version of the topic to 2.x or later.'],
  [50, 'Raise transaction.max.timeout.ms of the brokers to 10 seconds or more.'],
  [53, 'Grant this client WRITE and DESCRIBE on the transactional ids that begin with busbar-tx-.'],
  [76, 'The broker does not know the compression; choose another.'],
])

export function outcomeOf(errorCode: number): ProduceOutcome {
  if (errorCode === NONE || errorCode === DUPLICATE_SEQUENCE_NUMBER) return 'stored'
  if (errorCode === UNKNOWN_TOPIC_OR_PARTITION) return 'missing'
  if (RESET_CODES.has(errorCode)) return 'reset'
  if (UNFIT_CODES.has(errorCode)) return 'unfit'
  if (REFUSED_CODES.has(errorCode)) return 'refused'
  // Everything else a broker says passes: an election, too few replicas in sync, its disk, a timeout of its own.
  return 'moved'
}

export function refusal(topic: string, errorCode: number): BusbarError {
  return new BusbarError(`Kafka refuses records for ${topic} (error ${errorCode})`, {
    code: 'KAFKA_REFUSED',
    hint: REFUSED_CODES.get(errorCode) ?? 'See the log of the broker.',
  })
}

export function isTooLarge(errorCode: number): boolean {
  return TOO_LARGE_CODES.has(errorCode)
}

/** A record that is refused for itself, or several that are stored all or none. */
export interface UnfitRecords {
  readonly topic: string
  /** Of the first. */
  readonly key: string | null
  readonly count: number
  /** Bytes of a batch with nothing but them, as sent. */
  readonly bytes: number
  /** What the topic takes, bytes; null when that is not known, or not the reason. */
  readonly bytesMax: number | null
  readonly errorCode: number
}

/** RECORD_TOO_LARGE, BATCH_TOO_LARGE or RECORD_REFUSED; none is retryable. */
export function unfitRecords({ topic, key, count, bytes, bytesMax, errorCode }: UnfitRecords): BusbarError {
  if (count > 1 && isTooLarge(errorCode)) return batchTooLarge(topic, count, bytes, bytesMax)
  const name = `a record for ${topic}${key === null ? '' : ` with key ${key}`}`
  const record = count === 1 ? name : `${count} records for ${topic} that belong together`
  const hint = UNFIT_CODES.get(errorCode) ?? 'See the log of the broker.'
  if (!isTooLarge(errorCode)) {
    return new BusbarError(`Kafka refuses ${record} (error ${errorCode})`, { code: 'RECORD_REFUSED', hint })
  }
  const limit = bytesMax === null ? '' : ` of ${bytesMax} bytes`
  return new BusbarError(`${record} takes ${bytes} bytes, which is above the topic's limit${limit}`, {
    code: 'RECORD_TOO_LARGE',
    hint,
  })
}

/** A call of the client that failed: the broker's error code, or null when nobody answered. */
export function brokerErrorCode(error: unknown): number | null {
  const found = findErrorBy(error as Error, 'code', 'PLT_KFK_PROTOCOL') as { apiCode?: number } | null
  return found?.apiCode ?? null
}

/** What counts against the breaker: an answer, even a refusal, shows that the broker is there. */
export function nobodyAnswered(error: unknown): boolean {
  const missing = error instanceof BusbarError && error.code === 'TOPIC_MISSING'
  return !missing && brokerErrorCode(error) === null
}

/** One line about a failed call, with its innermost cause. */
export function describeFailure(error: unknown): string {
  let innermost: unknown = error
  for (let depth = 0; depth < 5; depth++) {
    // kafkajs has an error of errors of its own.
    const { errors, cause } =
      innermost instanceof Error ? (innermost as AggregateError) : { errors: [], cause: undefined }
    const next: unknown = errors?.at(-1) ?? cause
    if (next === undefined || next === null) break
    innermost = next
  }
  return innermost === error ? messageOf(error) : `${messageOf(error)} (${messageOf(innermost)})`
}
