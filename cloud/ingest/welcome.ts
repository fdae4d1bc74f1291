/** The answer to Hello: what the cloud has of the gateway's spool, and how the gateway is to go on. */

import type { Hello, SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { LANES, type Lane } from '../../shared/lanes.ts'
import { wireLaneOf } from './admission.ts'
import { type Received, settledBelow } from './cursors.ts'

/** Ranges of a lane; above it the gateway is asked for strict order, so that they merge. */
const RANGES_MAX = 256

/** What counts as received of a gateway that says what its spool still holds. */
export function settled(received: Received, { lanes }: Hello): Received {
  const oldest = (lane: Lane): number => lanes.find((state) => state.lane === wireLaneOf(lane))?.oldestSequence ?? 0
  const { priority, telemetry } = received
  return {
    priority: settledBelow(priority, oldest('priority')),
    telemetry: settledBelow(telemetry, oldest('telemetry')),
  }
}

export function needsStrictOrder(received: Received): boolean {
  return LANES.some((lane) => received[lane].length > RANGES_MAX)
}

/** @param wallClockMs our wall clock, Unix milliseconds. */
export function welcomeMessage(received: Received, creditBytes: number, wallClockMs: number): SessionResponse {
  const cursors = LANES.map((lane) => ({ lane: wireLaneOf(lane), received: [...received[lane]] }))
  const strictOrder = needsStrictOrder(received)
  return { message: { $case: 'welcome', value: { cursors, creditBytes, wallClockMs, strictOrder } } }
}
