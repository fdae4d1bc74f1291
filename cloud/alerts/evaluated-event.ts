/** A record as the evaluation takes it: a reading that some rule is about, a change of status, or nothing to it. */

import type { ConsumedRecord } from '../bus/bus.ts'
import { DEVICE_STATUS } from '../bus/catalogue.ts'
import { type Reading, readReading, readStatusEvent, type StatusEvent } from '../registry/device-event.ts'
import type { RuleBook } from './rule-book.ts'

export type EvaluatedEvent =
  | { readonly kind: 'reading'; readonly event: Reading }
  | { readonly kind: 'status'; readonly event: StatusEvent }
  | { readonly kind: 'skipped' }

const SKIPPED: EvaluatedEvent = { kind: 'skipped' }

/** The members with which the ingest begins every value; other producers may order them as they like. */
const SUBJECT_FIRST =
  /^\{"deviceId":([1-9][0-9]{0,9}),"serialNumber":"[^"\\]*","siteId":([1-9][0-9]{0,9}),"deviceType":"([^"\\]*)",/
/** Bytes of a value that hold those members: a serial number has 64 characters at most, a type 32. */
const SUBJECT_BYTES_MAX = 224

/**
 * A reading that no rule is about is not even parsed. What cannot be used is skipped: it is a dead letter of analytics, which
 * reads the same topics, and one letter is enough.
 */
export function decodeEvent(record: ConsumedRecord, book: RuleBook): EvaluatedEvent {
  if (record.topic === DEVICE_STATUS) {
    const event = readStatusEvent(record)
    return 'unusable' in event ? SKIPPED : { kind: 'status', event }
  }
  if (book.size === 0 || !concerns(record.value, book)) return SKIPPED
  const event = readReading(record)
  return 'unusable' in event ? SKIPPED : { kind: 'reading', event }
}

/** True also when that does not show before it is parsed. */
function concerns(value: Buffer, book: RuleBook): boolean {
  const match = SUBJECT_FIRST.exec(value.toString('latin1', 0, SUBJECT_BYTES_MAX))
  if (match === null) return true
  const subject = { deviceId: Number(match[1]), siteId: Number(match[2]), deviceType: match[3] as string }
  return book.rulesFor(subject).length > 0
}
