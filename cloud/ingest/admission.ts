/** What a gateway may send: every field checked, pure, and each refusal names the field and what it may be. */

import {
  type Block,
  type CommandReceipts,
  type Gap,
  GapReason,
  type Hello,
  Lane as WireLane,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import { COMMAND_ID_PATTERN, COMMANDS_PER_MESSAGE_MAX } from '../../shared/limits.ts'
import { WALL_MS_MAX } from './event-time.ts'

export const GATEWAY_ID_PATTERN = /^[A-Za-z0-9._-]{1,64}$/
const EPOCH_PATTERN = /^[A-Za-z0-9_-]{1,64}$/
const TEXT_LENGTH_MAX = 128

/** Everything is in order, or `problem` says what is not. */
export type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string }

export function laneOf(lane: WireLane): Lane | null {
  if (lane === WireLane.PRIORITY) return 'priority'
  return lane === WireLane.TELEMETRY ? 'telemetry' : null
}

export function wireLaneOf(lane: Lane): WireLane {
  return lane === 'priority' ? WireLane.PRIORITY : WireLane.TELEMETRY
}

export function checkHello(hello: Hello): Checked<Hello> {
  if (!GATEWAY_ID_PATTERN.test(hello.gatewayId)) {
    return refuse('hello.gateway_id must be 1 to 64 letters, digits, ".", "_" or "-"')
  }
  if (!EPOCH_PATTERN.test(hello.epoch)) return refuse('hello.epoch must be 1 to 64 letters, digits, "_" or "-"')
  if (hello.softwareVersion.length > TEXT_LENGTH_MAX) return refuse('hello.software_version is too long')
  if (hello.bootId.length > TEXT_LENGTH_MAX) return refuse('hello.boot_id is too long')
  if (!isWallMs(hello.wallClockMs)) return refuse('hello.wall_clock_ms must be Unix milliseconds before the year 10000')
  return { ok: true, value: hello }
}

/** The lane and range of a block or a gap. */
export interface Placement {
  readonly lane: Lane
  readonly range: SequenceRange
}

export function checkBlock(block: Block): Checked<Placement> {
  if (!isWallMs(block.wallClockMs)) return refuse('block.wall_clock_ms must be Unix milliseconds before the year 10000')
  return placement('block', block)
}

export function checkGap(gap: Gap): Checked<Placement> {
  if (!isWallMs(gap.wallClockMs)) return refuse('gap.wall_clock_ms must be Unix milliseconds before the year 10000')
  return placement('gap', gap)
}

export function checkReceipts(receipts: CommandReceipts): Checked<CommandReceipts> {
  const { stored, refused } = receipts
  const count = stored.length + refused.length
  if (count > COMMANDS_PER_MESSAGE_MAX) {
    return refuse(`command_receipts names ${count} commands, and may name ${COMMANDS_PER_MESSAGE_MAX}: send several`)
  }
  for (const [field, ids] of Object.entries({ stored, refused })) {
    if (ids.every((id) => COMMAND_ID_PATTERN.test(id))) continue
    return refuse(`command_receipts.${field} must hold ids of 1 to 64 letters, digits, ".", "_" or "-"`)
  }
  return { ok: true, value: receipts }
}

/**
 * The stretch of time within which the records of a gap were received, Unix milliseconds; null where the gateway does not
 * tell. A time that cannot be is as good as none: the gap itself must not be refused for it.
 */
export function gapStretchOf(gap: Gap): { readonly fromMs: number | null; readonly toMs: number | null } {
  const [fromMs, toMs] = [gap.firstWallClockMs, gap.lastWallClockMs].map((ms) => {
    return ms !== undefined && isWallMs(ms) ? ms : null
  }) as [number | null, number | null]
  // Of a gateway whose clock was set back between the two nothing better is known than that it lies between them.
  if (fromMs !== null && toMs !== null && fromMs > toMs) return { fromMs: toMs, toMs: fromMs }
  return { fromMs, toMs }
}

export function gapReasonOf(gap: Gap): string {
  switch (gap.reason) {
    case GapReason.BYTES:
      return 'bytes'
    case GapReason.AGE:
      return 'age'
    case GapReason.DISK:
      return 'disk'
    case GapReason.CORRUPT:
      return 'corrupt'
    default:
      return 'unknown'
  }
}

function placement(
  message: string,
  { lane: wireLane, firstSequence: first, recordCount }: Pick<Block, 'lane' | 'firstSequence' | 'recordCount'>,
): Checked<Placement> {
  const lane = laneOf(wireLane)
  if (lane === null) return refuse(`${message}.lane must be LANE_PRIORITY or LANE_TELEMETRY`)
  if (recordCount < 1) return refuse(`${message}.record_count must be at least 1`)
  // Compared before adding: beyond 2^53 a sum is rounded and looks safe again.
  if (first >= Number.MAX_SAFE_INTEGER - recordCount)
    return refuse(`${message}.first_sequence and record_count must stay below 2^53`)
  return {
    ok: true,
    value: { lane, range: { first, last: first + recordCount - 1 } },
  }
}

function isWallMs(ms: number): boolean {
  // Delays of up to 2^35 ms are added to it.
  return ms >= 0 && ms <= WALL_MS_MAX - 2 ** 35
}

function refuse(problem: string): {
  readonly ok: false
  readonly problem: string
} {
  return { ok: false, problem }
}
