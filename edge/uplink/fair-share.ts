/**
 * How live telemetry and the backlog share a link: start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996). Each
 * side's turn is a virtual time that advances by bytes / weight; the smaller turn goes first. A side that had nothing
 * to send keeps no claim from that time, so neither can starve the other, and one alone gets the whole link.
 */

export type TelemetryFeed = 'live' | 'backfill'

export interface FairShare {
  /** Virtual time at which the item sent last began. */
  readonly now: number
  /** Virtual time at which each side's last item ended. */
  readonly finish: Readonly<Record<TelemetryFeed, number>>
}

/** Items cost at least this many bytes, so that a run of gaps takes turns too. */
const ITEM_COST_MIN = 256

export const freshShare: FairShare = {
  now: 0,
  finish: { live: 0, backfill: 0 },
}

/** Whose turn it is when both sides have an item. */
export function turn(share: FairShare): TelemetryFeed {
  return start(share, 'live') <= start(share, 'backfill') ? 'live' : 'backfill'
}

/** The share after an item of `feed` was sent. @param backfillShare fraction of the link for the backlog, in (0, 1). */
export function afterSending(share: FairShare, feed: TelemetryFeed, bytes: number, backfillShare: number): FairShare {
  const begun = start(share, feed)
  const weight = feed === 'backfill' ? backfillShare : 1 - backfillShare
  const finish = begun + Math.max(bytes, ITEM_COST_MIN) / weight
  return {
    now: Math.max(share.now, begun),
    finish: { ...share.finish, [feed]: finish },
  }
}

function start(share: FairShare, feed: TelemetryFeed): number {
  return Math.max(share.now, share.finish[feed])
}
