/** Between the spool's words and the messages of proto/busbar/edge/v1/uplink.proto. */

import {
  type CommandReceipts,
  Encoding,
  type Hello,
  type LaneCursor,
  type SessionRequest,
  GapReason as WireGapReason,
  Lane as WireLane,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import type { GapReason, SpoolItem } from '../spool/item.ts'
import { byLane, type Lanes } from './flow.ts'
import type { UplinkSpool } from './options.ts'

const WIRE_LANE: Readonly<Record<Lane, WireLane>> = {
  priority: WireLane.PRIORITY,
  telemetry: WireLane.TELEMETRY,
}

const WIRE_REASON: Readonly<Record<GapReason, WireGapReason>> = {
  bytes: WireGapReason.BYTES,
  age: WireGapReason.AGE,
  disk: WireGapReason.DISK,
  corrupt: WireGapReason.CORRUPT,
}

/** The lane of a message, or null when this version does not know it. */
export function laneOf(lane: WireLane): Lane | null {
  if (lane === WireLane.PRIORITY) return 'priority'
  return lane === WireLane.TELEMETRY ? 'telemetry' : null
}

/** Received ranges per lane; a lane that this version does not know is left out. */
export function receivedOf(cursors: readonly LaneCursor[]): Record<Lane, readonly SequenceRange[]> {
  const received = byLane<readonly SequenceRange[]>(() => [])
  for (const cursor of cursors) {
    const lane = laneOf(cursor.lane)
    if (lane !== null) received[lane] = cursor.received
  }
  return received
}

export function helloMessage(hello: Omit<Hello, 'lanes'>, lanes: Lanes): SessionRequest {
  const states = LANES.map((lane) => ({
    lane: WIRE_LANE[lane],
    ...lanes[lane],
  }))
  return { message: { $case: 'hello', value: { ...hello, lanes: states } } }
}

export function itemMessage(item: SpoolItem, backfill: boolean): SessionRequest {
  const { firstSequence, recordCount } = item
  const lane = WIRE_LANE[item.lane]
  const wallClockMs = Math.round(item.wallMs)
  if (item.kind === 'gap') {
    const reason = WIRE_REASON[item.reason]
    const firstWallClockMs = wholeOrAbsent(item.firstWallMs)
    const lastWallClockMs = wholeOrAbsent(item.lastWallMs)
    const value = { lane, firstSequence, recordCount, reason, wallClockMs, firstWallClockMs, lastWallClockMs }
    return { message: { $case: 'gap', value } }
  }
  const { crc32c, bodyBytes, bootId } = item
  const encoding = item.encoding === 'zstd' ? Encoding.ZSTD : Encoding.IDENTITY
  // A view: the serializer copies the bytes into the message.
  const data = Buffer.from(item.data.buffer, item.data.byteOffset, item.data.byteLength)
  const monotonicMs = Math.max(0, Math.round(item.monotonicMs))
  const block = {
    lane,
    firstSequence,
    recordCount,
    encoding,
    crc32c,
    bodyBytes,
    data,
    wallClockMs,
    bootId,
    monotonicMs,
    backfill,
  }
  return { message: { $case: 'block', value: block } }
}

export function backlogMessage({ priority, telemetry }: ReturnType<UplinkSpool['stats']>['lanes']): SessionRequest {
  const oldest = Math.min(priority.oldestWallMs ?? Infinity, telemetry.oldestWallMs ?? Infinity)
  const value = {
    records: priority.records + telemetry.records,
    bytes: priority.bytes + telemetry.bytes,
    oldestWallClockMs: Number.isFinite(oldest) ? Math.round(oldest) : 0,
  }
  return { message: { $case: 'backlog', value } }
}

export function receiptsMessage({
  stored,
  refused,
}: Readonly<Record<keyof CommandReceipts, readonly string[]>>): SessionRequest {
  return { message: { $case: 'commandReceipts', value: { stored: [...stored], refused: [...refused] } } }
}

export function certificateMessage(csrDer: Buffer): SessionRequest {
  return { message: { $case: 'certificateRequest', value: { csrDer } } }
}

/** What a damaged row shows must not keep the message from being written. */
function wholeOrAbsent(ms: number | null): number | undefined {
  const whole = Math.round(ms ?? -1)
  return Number.isSafeInteger(whole) && whole >= 0 ? whole : undefined
}
