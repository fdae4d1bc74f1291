/**
 * A feed is one ordered run of a lane through an uplink session: a read cursor, what was read ahead, and whether there
 * is more to read. Values, not objects with behaviour: every function returns the next feed.
 */

import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import { containsRange } from '../../shared/sequence-ranges.ts'
import { lastSequence, type SpoolItem } from '../spool/item.ts'

/** `priority` goes first of all; `live` and `backfill` share telemetry, split at the record that was next at Welcome. */
export const FEEDS = ['priority', 'live', 'backfill'] as const
export type FeedName = (typeof FEEDS)[number]

/** After a read that found nothing or failed, the next one waits this long unless something new was stored. */
const READ_RETRY_MS = 1_000

export interface Feed {
  readonly lane: Lane
  /** Everything up to here was read in this uplink session, or needs no sending. */
  readonly after: number
  /** Last sequence of this feed; null when it has no end. */
  readonly through: number | null
  /** Read and not yet sent, from `readyFrom` on; ascending. */
  readonly ready: readonly SpoolItem[]
  readonly readyFrom: number
  readonly readyBytes: number
  /** A read is in flight. */
  readonly reading: boolean
  /** Monotonic time before which a fruitless read is not repeated. */
  readonly retryReadAt: number
}

export function newFeed(lane: Lane, after: number, through: number | null): Feed {
  return {
    lane,
    after,
    through,
    ready: [],
    readyFrom: 0,
    readyBytes: 0,
    reading: false,
    retryReadAt: 0,
  }
}

/** Bytes of credit that an item costs; a gap costs nothing. */
export function creditCost(item: SpoolItem): number {
  return item.kind === 'block' ? item.data.length : 0
}

export function head(feed: Feed): SpoolItem | null {
  return feed.ready[feed.readyFrom] ?? null
}

/** The feed without its head. */
export function withoutHead(feed: Feed): Feed {
  const item = head(feed)
  if (item === null) return feed
  const readyBytes = feed.readyBytes - creditCost(item)
  if (feed.readyFrom + 1 === feed.ready.length) return { ...feed, ready: [], readyFrom: 0, readyBytes }
  return { ...feed, readyFrom: feed.readyFrom + 1, readyBytes }
}

/** Whether the spool holds more of this feed than was read; `next` is the sequence that the lane's next record gets. */
export function hasMore(feed: Feed, next: number): boolean {
  const end = feed.through === null ? next : Math.min(next, feed.through + 1)
  return feed.after + 1 < end
}

/** The feed with its cursor moved past what the cloud already has. */
export function skipReceived(feed: Feed, received: readonly SequenceRange[]): Feed {
  const range = received.find(({ first, last }) => first <= feed.after + 1 && feed.after + 1 <= last)
  return range === undefined ? feed : { ...feed, after: range.last }
}

/** The feed after a read returned `items`; those that the cloud has, or that were read before, are left out. */
export function withItems(
  feed: Feed,
  items: readonly SpoolItem[],
  received: readonly SequenceRange[],
  now: number,
): Feed {
  if (items.length === 0) return withFailedRead(feed, now)
  let { after, readyBytes } = feed
  const ready = feed.ready.slice(feed.readyFrom)
  for (const item of items) {
    const last = lastSequence(item)
    // A gap that grew since it was read may begin before the cursor; what lies wholly before it was read already.
    if (last <= after) continue
    after = last
    if (containsRange(received, { first: item.firstSequence, last })) continue
    ready.push(item)
    readyBytes += creditCost(item)
  }
  // Only items behind the cursor: the same read would return them again at once.
  const retryReadAt = after === feed.after ? now + READ_RETRY_MS : 0
  return {
    ...feed,
    after,
    ready,
    readyFrom: 0,
    readyBytes,
    reading: false,
    retryReadAt,
  }
}

/** The feed after a read found nothing or failed. */
export function withFailedRead(feed: Feed, now: number): Feed {
  return { ...feed, reading: false, retryReadAt: now + READ_RETRY_MS }
}
