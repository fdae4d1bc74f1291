/** What analytics makes of a record of a device: a reading or a change of status that can be stored, or why there is none. */

import { DAY_MS } from '../../shared/durations.ts'
import type { ConsumedRecord } from '../bus/bus.ts'
import { DEVICE_STATUS } from '../bus/catalogue.ts'
import type { Unusable } from '../bus/record-consumer.ts'
import {
  CLOUD_GATEWAY,
  type Reading,
  readReading,
  readStatusEvent,
  type StatusEvent,
} from '../registry/device-event.ts'

export interface ReadingArrival {
  readonly kind: 'reading'
  readonly event: Reading
  /** The fields as they are stored. `JSON.stringify` leaves neither control characters nor lone surrogates in it. */
  readonly text: string
  readonly heard: Heard
}

export interface StatusArrival {
  readonly kind: 'status'
  readonly event: StatusEvent
  readonly heard: Heard
}

export type Arrival = ReadingArrival | StatusArrival

/** When the device itself was heard of. */
export interface Heard {
  /** Unix milliseconds; null where the record is not of the device's own making. */
  readonly atMs: number | null
  /** It was heard of now; false for what waited somewhere. */
  readonly live: boolean
}

/** How far ahead of our clock an event time may be, milliseconds: a day for clocks that are wrong, one for ours. */
const FUTURE_MS = 2 * DAY_MS

/** @param acceptedAgeMs how old a reading may be at `nowMs`. */
export function readArrival(record: ConsumedRecord, nowMs: number, acceptedAgeMs: number): Arrival | Unusable {
  if (record.topic === DEVICE_STATUS) {
    const event = readStatusEvent(record)
    return 'unusable' in event ? event : { kind: 'status', event, heard: heardOf(event) }
  }
  const event = readReading(record)
  if ('unusable' in event) return event
  return (
    unacceptableTime(event.atMs, nowMs, acceptedAgeMs) ?? {
      kind: 'reading',
      event,
      text: JSON.stringify(event.fields),
      heard: heardOf(event),
    }
  )
}

/** A table of its own for every day ever named would be too much: what is too far away is told, and can be replayed. */
function unacceptableTime(atMs: number, nowMs: number, acceptedAgeMs: number): Unusable | null {
  if (atMs < nowMs - acceptedAgeMs) {
    const limitDays = acceptedAgeMs / DAY_MS
    return {
      unusable: 'READING_TOO_OLD',
      message: `the reading is of ${iso(atMs)}, more than ${limitDays} days ago; raise telemetry.acceptedAgeDays and replay it`,
    }
  }
  if (atMs > nowMs + FUTURE_MS) {
    return {
      unusable: 'READING_IN_FUTURE',
      message: `the reading is of ${iso(atMs)}, more than ${FUTURE_MS / DAY_MS} days ahead of ${iso(nowMs)}; check the clocks of the device and of this core, and replay it`,
    }
  }
  return null
}

function heardOf(event: Reading | StatusEvent): Heard {
  const { busAtMs, receivedAtMs, backfill, replayed, gatewayId } = event
  // What the cloud says of a silent device, and a gateway of one that left it, is no word of the device.
  const silent = gatewayId === CLOUD_GATEWAY || ('status' in event && event.status === 'OFFLINE')
  if (silent) return { atMs: null, live: false }
  // A replayed dead letter is as old as a backfilled record.
  if (backfill || replayed) return { atMs: Math.min(receivedAtMs, busAtMs), live: false }
  return { atMs: busAtMs, live: true }
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
