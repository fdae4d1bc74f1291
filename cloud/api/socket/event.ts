/**
 * A record of the bus, or the change of a resource, as an event. The value of a record goes in as the text it is; it is
 * parsed only to be sure that the frame stays JSON, and only when somebody wants it.
 */

import type { ConsumedRecord } from '../../bus/bus.ts'
import type { SeenChange } from './change-poller.ts'
import type { Channel } from './channels.ts'
import type { LiveEvent } from './fan-out.ts'
import { keysOf } from './filter.ts'
import type { RecentIds } from './recent-ids.ts'

/** What subscriptions select by. */
type DeviceSubject = { readonly siteId: number; readonly deviceId: number; readonly serialNumber: string }

/** The members with which the ingest begins every value; other producers may order them as they like. */
const SUBJECT_FIRST = /^\{"deviceId":([1-9][0-9]{0,14}),"serialNumber":"([^"\\]*)","siteId":([1-9][0-9]{0,14}),/
/** Bytes of a value that hold those members: a serial number has 64 characters at most. */
const SUBJECT_BYTES_MAX = 160

/** Of a value that nobody could be sent. */
const NOTHING: LiveEvent = { keys: null, sites: null, askedBy: null, frame: () => null }

export function busEvent(channel: Channel, record: ConsumedRecord): LiveEvent {
  const subject = subjectOf(record.value)
  if (subject === null) return NOTHING
  return { keys: keysOf(subject), sites: [subject.siteId], askedBy: null, frame: () => recordFrame(channel, record) }
}

/** Null for one that came before: the bus may deliver a record twice, and a person is told once. */
export function notificationEvent(record: ConsumedRecord, recent: RecentIds): LiveEvent | null {
  const { id, userId } = addressOf(record.value) ?? {}
  if (id === undefined || userId === undefined) return NOTHING
  if (!recent.add(id)) return null
  return { keys: keysOf({ userId }), sites: null, askedBy: userId, frame: () => recordFrame('notifications', record) }
}

export function changeEvent(channel: Channel, change: SeenChange): LiveEvent {
  const { keys, sites, askedBy } = change
  return { keys, sites, askedBy, frame: () => changeFrame(channel, change) }
}

export function changeFrame(channel: Channel, { text }: SeenChange): string {
  return `{"type":"event","channel":"${channel}","data":${text}}`
}

/** Null when the value is none of ours. */
function subjectOf(value: Buffer): DeviceSubject | null {
  const match = SUBJECT_FIRST.exec(value.toString('latin1', 0, SUBJECT_BYTES_MAX))
  if (match !== null) {
    return { deviceId: Number(match[1]), serialNumber: match[2] as string, siteId: Number(match[3]) }
  }
  const parsed = parse(value.toString())
  if (typeof parsed !== 'object' || parsed === null) return null
  const { siteId, deviceId, serialNumber } = parsed as Partial<Record<string, unknown>>
  if (typeof siteId !== 'number' || typeof deviceId !== 'number' || typeof serialNumber !== 'string') return null
  return { siteId, deviceId, serialNumber }
}

/** Null when the value is no notification. */
function addressOf(value: Buffer): { readonly id: string; readonly userId: string } | null {
  const parsed = parse(value.toString())
  if (typeof parsed !== 'object' || parsed === null) return null
  const { id, userId } = parsed as Partial<Record<string, unknown>>
  return typeof id === 'string' && typeof userId === 'string' ? { id, userId } : null
}

/** The frame, or null when the value is not JSON and would spoil it. */
function recordFrame(channel: Channel, record: ConsumedRecord): string | null {
  const text = record.value.toString()
  if (parse(text) === undefined) return null
  const { gateway, seq, backfill } = record.headers
  let frame = `{"type":"event","channel":"${channel}","data":${text}`
  if (gateway !== undefined) frame += `,"gateway":${JSON.stringify(gateway)}`
  // A number without leading zeros and below 2^53, or nothing.
  if (seq !== undefined && /^(0|[1-9][0-9]{0,15})$/.test(seq)) frame += `,"seq":${seq}`
  if (backfill === 'true') frame += ',"backfill":true'
  return `${frame}}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
