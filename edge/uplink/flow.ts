/**
 * What flows in an admitted uplink session: the three feeds, what was sent and not yet acknowledged, and the credit.
 * Pure: given a flow and the time it says what to read and what to send next.
 */

import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { addRange, containsRange } from '../../shared/sequence-ranges.ts'
import { lastSequence, type SpoolItem } from '../spool/item.ts'
import { afterSending, type FairShare, freshShare, turn } from './fair-share.ts'
import {
  creditCost,
  FEEDS,
  type Feed,
  type FeedName,
  hasMore,
  head,
  newFeed,
  skipReceived,
  withoutHead,
} from './feed.ts'

export interface LaneBounds {
  /** Oldest sequence in the spool; equals `nextSequence` when the lane is empty. */
  readonly oldestSequence: number
  /** Sequence that the next record will get. */
  readonly nextSequence: number
}

export type Lanes = Readonly<Record<Lane, LaneBounds>>

export interface FlowRules {
  /** `strict` sends telemetry oldest first, without a live feed beside the backlog. */
  readonly order: 'live-first' | 'strict'
  /** Fraction of the link that the backlog gets while there is live telemetry too, 0.05 to 0.95. */
  readonly backfillShare: number
  /** Bytes that a feed reads ahead of what was sent. */
  readonly readAheadBytes: number
  /** Items sent and not yet acknowledged; at the limit sending waits for acknowledgements. */
  readonly outstandingItemsMax: number
  /** Bytes handed to the transport before asking it whether it can take more. */
  readonly burstBytes: number
}

/** Items handed to the transport in one burst, however small they are. */
const BURST_ITEMS_MAX = 64

export interface Outstanding {
  readonly item: SpoolItem
  readonly feed: FeedName
  /** When it was sent, monotonic milliseconds. */
  readonly sentAt: number
}

export interface Flow {
  readonly feeds: Readonly<Record<FeedName, Feed>>
  /** First sequence that was not yet stored at Welcome: what is before it is backfill. */
  readonly boundary: Readonly<Record<Lane, number>>
  /** Sequence that each lane's next record gets, as far as known. */
  readonly next: Readonly<Record<Lane, number>>
  /** What the cloud had at Welcome. */
  readonly received: Readonly<Record<Lane, readonly SequenceRange[]>>
  /** Bytes that may be sent; below zero after an item larger than the credit. */
  readonly credit: number
  /** Sent and not acknowledged, in the order of sending. */
  readonly outstanding: readonly Outstanding[]
  readonly share: FairShare
  /** Whether the transport takes more. */
  readonly writable: boolean
}

/** A read that the spool should do: items of `lane` after `afterSequence`. */
export interface FeedRead {
  readonly feed: FeedName
  readonly lane: Lane
  readonly afterSequence: number
  readonly throughSequence: number | null
  readonly bytesMax: number
}

/** The flow at Welcome. */
export function openFlow(
  lanes: Lanes,
  welcome: {
    readonly received: Readonly<Record<Lane, readonly SequenceRange[]>>
    readonly credit: number
    readonly strictOrder: boolean
  },
  rules: FlowRules,
): Flow {
  const { priority, telemetry } = lanes
  const strict = welcome.strictOrder || rules.order === 'strict'
  const liveAfter = (strict ? telemetry.oldestSequence : telemetry.nextSequence) - 1
  const backfillAfter = strict ? liveAfter : telemetry.oldestSequence - 1
  return {
    feeds: {
      priority: newFeed('priority', priority.oldestSequence - 1, null),
      live: newFeed('telemetry', liveAfter, null),
      // In strict order the live feed begins with the backlog, and this one is empty from the start.
      backfill: newFeed('telemetry', backfillAfter, strict ? backfillAfter : telemetry.nextSequence - 1),
    },
    boundary: {
      priority: priority.nextSequence,
      telemetry: telemetry.nextSequence,
    },
    next: {
      priority: priority.nextSequence,
      telemetry: telemetry.nextSequence,
    },
    received: welcome.received,
    credit: welcome.credit,
    outstanding: [],
    share: freshShare,
    writable: true,
  }
}

/** The flow after `items` were sent, and those items; empty when nothing can go now. */
export function sendBurst(flow: Flow, rules: FlowRules, now: number): { flow: Flow; sent: readonly Outstanding[] } {
  if (!flow.writable || nextFeed(flow, rules) === null) return { flow, sent: [] }
  const sent: Outstanding[] = []
  let current = flow
  let bytes = 0
  while (bytes < rules.burstBytes && sent.length < BURST_ITEMS_MAX) {
    const feed = nextFeed(current, rules, sent.length)
    if (feed === null) break
    const item = head(current.feeds[feed]) as SpoolItem
    const cost = creditCost(item)
    sent.push({ item, feed, sentAt: now })
    bytes += cost
    current = {
      ...current,
      feeds: { ...current.feeds, [feed]: withoutHead(current.feeds[feed]) },
      credit: current.credit - cost,
      share: feed === 'priority' ? current.share : afterSending(current.share, feed, cost, rules.backfillShare),
    }
  }
  return {
    flow: {
      ...current,
      outstanding: [...flow.outstanding, ...sent],
      writable: false,
    },
    sent,
  }
}

/** The feed whose head goes next, or null when none can. @param burst items sent and not yet in `outstanding`. */
function nextFeed(flow: Flow, rules: FlowRules, burst = 0): FeedName | null {
  const unacknowledged = flow.outstanding.length + burst
  if (unacknowledged >= rules.outstandingItemsMax) return null
  const { feeds } = flow
  let feed: FeedName | null = null
  if (head(feeds.priority) !== null) feed = 'priority'
  else if (head(feeds.live) === null) feed = head(feeds.backfill) === null ? null : 'backfill'
  else feed = head(feeds.backfill) === null ? 'live' : turn(flow.share)
  if (feed === null) return null
  const cost = creditCost(head(feeds[feed]) as SpoolItem)
  // What does not fit holds the rest back, or small live blocks could starve a large priority block for ever. An item
  // larger than the whole credit goes alone, and the credit is below zero then; a gap costs nothing even so.
  const fits = cost === 0 || cost <= flow.credit || (flow.credit > 0 && unacknowledged === 0)
  return fits ? feed : null
}

/** The flow with the reads of the feeds `names` begun, and those reads. */
export function beginReads(
  flow: Flow,
  names: readonly FeedName[],
  rules: FlowRules,
  now: number,
): { flow: Flow; reads: readonly FeedRead[] } {
  let reads: FeedRead[] | null = null
  let current = flow
  for (const name of names) {
    const before = current.feeds[name]
    if (!wantsRead(before, current, rules, now)) continue
    const feed = skipReceived(before, current.received[before.lane])
    const reading = hasMore(feed, current.next[feed.lane])
    if (reading) {
      reads ??= []
      reads.push({
        feed: name,
        lane: feed.lane,
        afterSequence: feed.after,
        throughSequence: feed.through,
        bytesMax: rules.readAheadBytes - feed.readyBytes,
      })
    }
    current = {
      ...current,
      feeds: { ...current.feeds, [name]: { ...feed, reading, retryReadAt: 0 } },
    }
  }
  return { flow: current, reads: reads ?? [] }
}

function wantsRead(feed: Feed, flow: Flow, rules: FlowRules, now: number): boolean {
  if (feed.reading || feed.retryReadAt > now || !hasMore(feed, flow.next[feed.lane])) return false
  // Half empty before the next read, so that reads are of a decent size.
  return feed.readyBytes * 2 <= rules.readAheadBytes && feed.ready.length - feed.readyFrom < rules.outstandingItemsMax
}

/** When the next fruitless read is to be repeated; null when there is none. */
export function nextRetryAt(flow: Flow): number | null {
  let at: number | null = null
  for (const name of FEEDS) {
    const feed = flow.feeds[name]
    if (feed.reading || feed.retryReadAt === 0 || !hasMore(feed, flow.next[feed.lane])) continue
    at = at === null ? feed.retryReadAt : Math.min(at, feed.retryReadAt)
  }
  return at
}

/** Whether a feed has anything that was not sent yet, as far as known. */
export function hasUnsent(flow: Flow, name: FeedName): boolean {
  const feed = flow.feeds[name]
  return head(feed) !== null || feed.reading || hasMore(feed, flow.next[feed.lane])
}

/** The flow after the cloud acknowledged `ranges` of `lane`, what is acknowledged by it, and when the last of that was sent. */
export function settle(
  flow: Flow,
  lane: Lane,
  ranges: readonly SequenceRange[],
): { flow: Flow; acknowledged: readonly SpoolItem[]; sentAt: number } {
  const acknowledged: SpoolItem[] = []
  let sentAt = 0
  const outstanding = flow.outstanding.filter(({ item, sentAt: at }) => {
    const last = lastSequence(item)
    if (item.lane !== lane || !containsRange(ranges, { first: item.firstSequence, last })) return true
    acknowledged.push(item)
    sentAt = Math.max(sentAt, at)
    return false
  })
  const after = acknowledged.length === 0 ? flow : { ...flow, outstanding }
  return { flow: after, acknowledged, sentAt }
}

/** The flow after records up to `next` of `lane` became durable in the spool. */
export function withAppended(flow: Flow, lane: Lane, next: number): Flow {
  if (next <= flow.next[lane]) return flow
  const feeds = { ...flow.feeds }
  for (const name of FEEDS) {
    const feed = feeds[name]
    if (feed.lane === lane && feed.through === null && feed.retryReadAt > 0) feeds[name] = { ...feed, retryReadAt: 0 }
  }
  return { ...flow, feeds, next: { ...flow.next, [lane]: next } }
}

/** Whether an item was stored before this uplink session began. */
export function isBackfill(flow: Flow, item: SpoolItem): boolean {
  return item.firstSequence < flow.boundary[item.lane]
}

/** Ranges that cover the items, normalised. */
export function rangesOf(items: readonly SpoolItem[]): SequenceRange[] {
  let ranges: SequenceRange[] = []
  for (const item of items)
    ranges = addRange(ranges, {
      first: item.firstSequence,
      last: lastSequence(item),
    })
  return ranges
}

/** Ranges per lane, empty for a lane that is not mentioned. */
export function byLane<T>(of: (lane: Lane) => T): Record<Lane, T> {
  return Object.fromEntries(LANES.map((lane) => [lane, of(lane)])) as Record<Lane, T>
}
