/**
 * How long a device was in which status, from its history. Pure: a history and a range come in, shares come out.
 *
 *     availability = ONLINE / (total − MAINTENANCE − UNKNOWN)
 *
 * Maintenance is meant, and of what is not known nothing is said; OFFLINE and ERROR are what counts against a device.
 */

import type { DeviceStatus } from '../registry/device.ts'

/** As in the history, or UNKNOWN before the first status that is known. */
export const SHARED_STATUSES = ['ONLINE', 'OFFLINE', 'MAINTENANCE', 'ERROR', 'UNKNOWN'] as const
export type SharedStatus = (typeof SHARED_STATUSES)[number]

export interface StatusPoint {
  /** Event time, Unix milliseconds. */
  readonly atMs: number
  readonly status: DeviceStatus
}

export interface Availability {
  readonly fromMs: number
  readonly toMs: number
  /** Milliseconds in each status; together they are the range. */
  readonly ms: Readonly<Record<SharedStatus, number>>
  /** From one known status to another within the range. */
  readonly changes: number
  /** The longest time without a break that it was OFFLINE or in ERROR, milliseconds. */
  readonly longestOutageMs: number
  /** From 0 to 1; null when the device was in MAINTENANCE or UNKNOWN all the time. */
  readonly availability: number | null
}

/** Adds up one device's history, which may be long, a point at a time. */
export class AvailabilityTally {
  private readonly fromMs: number
  private readonly toMs: number
  private readonly ms: Record<SharedStatus, number> = { ONLINE: 0, OFFLINE: 0, MAINTENANCE: 0, ERROR: 0, UNKNOWN: 0 }
  private status: SharedStatus
  private sinceMs: number
  private changes = 0
  private outageMs = 0
  private longestOutageMs = 0

  /** @param before what it was at the begin of the range; null when that is not known. */
  constructor(before: DeviceStatus | null, fromMs: number, toMs: number) {
    this.fromMs = fromMs
    this.toMs = toMs
    this.status = before ?? 'UNKNOWN'
    this.sinceMs = fromMs
  }

  /** Points come ascending by time; of several of one time the last one holds. Those outside of the range change nothing. */
  add({ atMs, status }: StatusPoint): void {
    if (atMs < this.sinceMs || atMs >= this.toMs || status === this.status) return
    this.pass(atMs)
    if (this.status !== 'UNKNOWN') this.changes++
    this.status = status
  }

  /** To be called once, after the last point. */
  finish(): Availability {
    const { fromMs, toMs, ms } = this
    this.pass(toMs)
    const judged = toMs - fromMs - ms.MAINTENANCE - ms.UNKNOWN
    return {
      fromMs,
      toMs,
      ms,
      changes: this.changes,
      longestOutageMs: this.longestOutageMs,
      availability: judged === 0 ? null : ms.ONLINE / judged,
    }
  }

  private pass(untilMs: number): void {
    const passedMs = untilMs - this.sinceMs
    // Of several changes of one time the last one holds: the others end nothing.
    if (passedMs === 0) return
    this.ms[this.status] += passedMs
    this.sinceMs = untilMs
    // From OFFLINE to ERROR the same outage goes on.
    this.outageMs = this.status === 'OFFLINE' || this.status === 'ERROR' ? this.outageMs + passedMs : 0
    this.longestOutageMs = Math.max(this.longestOutageMs, this.outageMs)
  }
}

/** @param points ascending by time. */
export function availabilityOf(
  before: DeviceStatus | null,
  points: Iterable<StatusPoint>,
  fromMs: number,
  toMs: number,
): Availability {
  const tally = new AvailabilityTally(before, fromMs, toMs)
  for (const point of points) tally.add(point)
  return tally.finish()
}
