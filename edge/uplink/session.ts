/**
 * The uplink protocol as a state machine without I/O: a state and an input give the next state and what to do. The
 * shell in uplink.ts does it. Nothing is acknowledged to the spool that the cloud did not acknowledge; whatever is
 * unacknowledged when a session ends is read and sent again in the next.
 *
 *     offline ─retryAt─▶ dialling ─dialled─▶ awaitingWelcome ─Welcome─▶ streaming ─stop─▶ stopping ─▶ stopped
 *        ▲                  │                      │                        │
 *        └──────────────────┴── stream ended, or a time-out ────────────────┘
 */

import type { SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'
import type { SpoolItem } from '../spool/item.ts'
import { FEEDS, type FeedName, withFailedRead, withItems } from './feed.ts'
import * as flows from './flow.ts'
import { laneOf, receivedOf } from './wire.ts'

/** What stopping still sends; the backlog waits on disk for the next start. */
const FINISHED_WHEN_STOPPING: readonly FeedName[] = ['priority', 'live']

/** Everything that times or bounds a session. Times in milliseconds of the monotonic clock. */
export interface SessionRules extends flows.FlowRules {
  readonly backoff: BackoffPolicy
  /** From dialling to Welcome. */
  readonly connectTimeoutMs: number
  /** Standstill of the link while something is unacknowledged. */
  readonly ackTimeoutMs: number
  /** How often a BacklogReport goes up. */
  readonly backlogReportMs: number
  /** How long stopping goes on sending and waits for acknowledgements. */
  readonly stopTimeoutMs: number
  readonly random: Random
}

interface Admitted {
  readonly attempt: number
  readonly since: number
  readonly flow: flows.Flow
  /** When the link last showed progress: the cloud said something, or the transport took what was sent. */
  readonly heardAt: number
  readonly reportAt: number
}

/** `session` counts dials, so that what belongs to an earlier one can be told apart. */
export type SessionState = { readonly session: number } & (
  | {
      readonly name: 'offline'
      readonly attempt: number
      readonly retryAt: number
    }
  | {
      readonly name: 'dialling'
      readonly attempt: number
      readonly since: number
    }
  | {
      readonly name: 'awaitingWelcome'
      readonly attempt: number
      readonly since: number
      readonly lanes: flows.Lanes
    }
  | ({ readonly name: 'streaming' } & Admitted)
  | ({ readonly name: 'stopping'; readonly stopAt: number } & Admitted)
  | { readonly name: 'stopped' }
)

export type SessionInput =
  | { readonly kind: 'tick' }
  /** The connection is up; `lanes` is what the spool holds now. */
  | { readonly kind: 'dialled'; readonly lanes: flows.Lanes }
  | { readonly kind: 'message'; readonly response: SessionResponse }
  | { readonly kind: 'streamEnded' }
  | {
      readonly kind: 'itemsRead'
      readonly session: number
      readonly feed: FeedName
      readonly items: readonly SpoolItem[]
    }
  | {
      readonly kind: 'readFailed'
      readonly session: number
      readonly feed: FeedName
    }
  | {
      readonly kind: 'appended'
      readonly lane: Lane
      readonly nextSequence: number
    }
  /** The transport takes more. */
  | { readonly kind: 'writable' }
  /** Epoch and sequences are others from now on: what was sent means nothing any more. */
  | { readonly kind: 'spoolReplaced' }
  | { readonly kind: 'stop' }

/** Why this side ends a session. */
export type CloseReason =
  | 'stopped'
  | 'connectTimeout'
  | 'ackTimeout'
  | 'protocolError'
  | 'spoolRolledBack'
  | 'spoolReplaced'

/** What the cloud said that this session did not expect. */
export type Oddity = 'unknownLane' | 'strayAck' | 'unexpectedMessage'

export type SessionEffect =
  | { readonly kind: 'dial' }
  | { readonly kind: 'hello'; readonly lanes: flows.Lanes }
  | {
      readonly kind: 'send'
      readonly item: SpoolItem
      readonly backfill: boolean
    }
  | ({ readonly kind: 'read'; readonly session: number } & flows.FeedRead)
  /** The cloud has these ranges: the spool may delete them. `records` counts those sent in this session. */
  | {
      readonly kind: 'acknowledge'
      readonly lane: Lane
      readonly ranges: readonly SequenceRange[]
      readonly records: number
    }
  | { readonly kind: 'reportBacklog' }
  | { readonly kind: 'close'; readonly reason: CloseReason }
  | {
      readonly kind: 'connected'
      readonly strictOrder: boolean
      readonly cloudWallMs: number
    }
  | { readonly kind: 'odd'; readonly oddity: Oddity }

export interface SessionStep {
  readonly state: SessionState
  readonly effects: readonly SessionEffect[]
}

/** The state before the first dial, which is due at once. */
export function initialState(now: number): SessionState {
  return { name: 'offline', session: 0, attempt: 0, retryAt: now }
}

/** When the machine next wants a tick, monotonic milliseconds; null for never. */
export function nextTickAt(state: SessionState, rules: SessionRules): number | null {
  switch (state.name) {
    case 'offline':
      return state.retryAt
    case 'dialling':
    case 'awaitingWelcome':
      return state.since + rules.connectTimeoutMs
    case 'streaming':
    case 'stopping': {
      let at = state.name === 'stopping' ? state.stopAt : state.reportAt
      if (state.flow.outstanding.length > 0) at = Math.min(at, state.heardAt + rules.ackTimeoutMs)
      return Math.min(at, flows.nextRetryAt(state.flow) ?? at)
    }
    case 'stopped':
      return null
  }
}

/** One step of the protocol. @param now monotonic milliseconds. */
export function transition(state: SessionState, input: SessionInput, now: number, rules: SessionRules): SessionStep {
  switch (state.name) {
    case 'offline':
      if (input.kind === 'stop') return stopped(state, [])
      if (input.kind !== 'tick' || now < state.retryAt) return unchanged(state)
      return {
        state: {
          name: 'dialling',
          session: state.session + 1,
          attempt: state.attempt,
          since: now,
        },
        effects: [{ kind: 'dial' }],
      }
    case 'dialling':
      if (input.kind !== 'dialled') return connecting(state, input, now, rules)
      return {
        state: {
          name: 'awaitingWelcome',
          session: state.session,
          attempt: state.attempt,
          since: state.since,
          lanes: input.lanes,
        },
        effects: [{ kind: 'hello', lanes: input.lanes }],
      }
    case 'awaitingWelcome':
      if (input.kind === 'message') return welcome(state, input.response, now, rules)
      if (input.kind === 'appended')
        return {
          state: { ...state, lanes: grown(state.lanes, input) },
          effects: [],
        }
      return connecting(state, input, now, rules)
    case 'streaming':
    case 'stopping':
      return admitted(state, input, now, rules)
    case 'stopped':
      return unchanged(state)
  }
}

type Connecting = Extract<SessionState, { name: 'dialling' | 'awaitingWelcome' }>
type Awaiting = Extract<SessionState, { name: 'awaitingWelcome' }>
type Flowing = Extract<SessionState, { name: 'streaming' | 'stopping' }>

function connecting(state: Connecting, input: SessionInput, now: number, rules: SessionRules): SessionStep {
  if (input.kind === 'stop') return stopped(state, [{ kind: 'close', reason: 'stopped' }])
  if (input.kind === 'streamEnded') return lost(state, now, rules)
  if (input.kind === 'spoolReplaced') return lost(state, now, rules, 'spoolReplaced')
  if (input.kind === 'tick' && now >= state.since + rules.connectTimeoutMs)
    return lost(state, now, rules, 'connectTimeout')
  return unchanged(state)
}

function welcome(state: Awaiting, { message }: SessionResponse, now: number, rules: SessionRules): SessionStep {
  if (message?.$case !== 'welcome') return lost(state, now, rules, 'protocolError')
  const { cursors, creditBytes, strictOrder, wallClockMs } = message.value
  const received = receivedOf(cursors)
  const effects: SessionEffect[] = [{ kind: 'connected', strictOrder, cloudWallMs: wallClockMs }]
  for (const cursor of cursors) {
    const lane = laneOf(cursor.lane)
    if (lane === null) {
      effects.push({ kind: 'odd', oddity: 'unknownLane' })
      continue
    }
    // The cloud has records that this spool has not drawn yet: the spool is older than what it sent, as after restoring
    // a disk image. Its new records would take sequences that the cloud drops as duplicates.
    const beyond = cursor.received.some(({ last }) => last >= state.lanes[lane].nextSequence)
    if (beyond) return lost(state, now, rules, 'spoolRolledBack')
    if (cursor.received.length > 0)
      effects.push({
        kind: 'acknowledge',
        lane,
        ranges: cursor.received,
        records: 0,
      })
  }
  const flow = flows.openFlow(state.lanes, { received, credit: creditBytes, strictOrder }, rules)
  const { session, attempt } = state
  const streaming: Flowing = {
    name: 'streaming',
    session,
    attempt,
    since: now,
    flow,
    heardAt: now,
    reportAt: now,
  }
  return proceed(streaming, effects, now, rules)
}

function admitted(state: Flowing, input: SessionInput, now: number, rules: SessionRules): SessionStep {
  const effects: SessionEffect[] = []
  switch (input.kind) {
    case 'message':
      return proceed(heard({ ...state, heardAt: now }, input.response, effects), effects, now, rules)
    case 'itemsRead':
    case 'readFailed': {
      if (input.session !== state.session) return unchanged(state)
      const feed = state.flow.feeds[input.feed]
      const { received } = state.flow
      const read =
        input.kind === 'itemsRead' ? withItems(feed, input.items, received[feed.lane], now) : withFailedRead(feed, now)
      return proceed(
        {
          ...state,
          flow: {
            ...state.flow,
            feeds: { ...state.flow.feeds, [input.feed]: read },
          },
        },
        effects,
        now,
        rules,
      )
    }
    case 'appended':
      return proceed(
        {
          ...state,
          flow: flows.withAppended(state.flow, input.lane, input.nextSequence),
        },
        effects,
        now,
        rules,
      )
    case 'writable':
      // The link takes bytes: over a slow one that is progress, long before the cloud can answer a large block.
      return proceed({ ...state, heardAt: now, flow: { ...state.flow, writable: true } }, effects, now, rules)
    case 'tick':
      if (state.flow.outstanding.length > 0 && now >= state.heardAt + rules.ackTimeoutMs)
        return lost(state, now, rules, 'ackTimeout')
      return proceed(state, effects, now, rules)
    case 'streamEnded':
      return lost(state, now, rules)
    case 'spoolReplaced':
      return lost(state, now, rules, 'spoolReplaced')
    case 'stop':
      if (state.name === 'stopping') return unchanged(state)
      return proceed({ ...state, name: 'stopping', stopAt: now + rules.stopTimeoutMs }, effects, now, rules)
    case 'dialled':
      return unchanged(state)
  }
}

/** The state after the cloud said something; what follows from it is pushed onto `effects`. */
function heard(state: Flowing, { message }: SessionResponse, effects: SessionEffect[]): Flowing {
  if (message?.$case === 'credit') {
    return {
      ...state,
      flow: { ...state.flow, credit: state.flow.credit + message.value.bytes },
    }
  }
  if (message?.$case !== 'ack') {
    effects.push({ kind: 'odd', oddity: 'unexpectedMessage' })
    return state
  }
  const lane = laneOf(message.value.lane)
  if (lane === null) {
    effects.push({ kind: 'odd', oddity: 'unknownLane' })
    return state
  }
  const { flow, acknowledged } = flows.settle(state.flow, lane, message.value.ranges)
  if (acknowledged.length === 0) {
    effects.push({ kind: 'odd', oddity: 'strayAck' })
    return state
  }
  const records = acknowledged.reduce((sum, item) => sum + (item.kind === 'block' ? item.recordCount : 0), 0)
  effects.push({
    kind: 'acknowledge',
    lane,
    ranges: flows.rangesOf(acknowledged),
    records,
  })
  // Progress, and not merely a connection, is what makes the next backoff short again.
  return { ...state, flow, attempt: 0 }
}

/** Reads, sends and reports whatever is due. */
function proceed(state: Flowing, effects: SessionEffect[], now: number, rules: SessionRules): SessionStep {
  const idle = state.flow.outstanding.length === 0
  const { flow: afterSends, sent } = flows.sendBurst(state.flow, rules)
  for (const { item } of sent)
    effects.push({
      kind: 'send',
      item,
      backfill: flows.isBackfill(afterSends, item),
    })
  const heardAt = idle && sent.length > 0 ? now : state.heardAt
  const stopping = state.name === 'stopping'
  if (stopping) {
    const inHand =
      afterSends.outstanding.length > 0 || FINISHED_WHEN_STOPPING.some((feed) => flows.hasUnsent(afterSends, feed))
    if (!inHand || now >= state.stopAt) return stopped(state, [...effects, { kind: 'close', reason: 'stopped' }])
  }
  const { flow, reads } = flows.beginReads(afterSends, stopping ? FINISHED_WHEN_STOPPING : FEEDS, rules, now)
  for (const read of reads) effects.push({ kind: 'read', session: state.session, ...read })
  let { reportAt } = state
  if (!stopping && now >= reportAt) {
    effects.push({ kind: 'reportBacklog' })
    reportAt = now + rules.backlogReportMs
  }
  return { state: { ...state, flow, heardAt, reportAt }, effects }
}

/** Offline after a session ended; `reason` is given when this side ends it. */
function lost(state: Connecting | Flowing, now: number, rules: SessionRules, reason?: CloseReason): SessionStep {
  const effects: SessionEffect[] = reason === undefined ? [] : [{ kind: 'close', reason }]
  if (state.name === 'stopping') return stopped(state, effects)
  // A session that lasted was progress too, even when there was nothing to send.
  const lasted = state.name === 'streaming' && now - state.since > rules.backoff.capMs
  const attempt = lasted ? 0 : state.attempt
  const retryAt = now + fullJitterMs(attempt, rules.backoff, rules.random)
  return {
    state: {
      name: 'offline',
      session: state.session,
      attempt: attempt + 1,
      retryAt,
    },
    effects,
  }
}

function stopped({ session }: SessionState, effects: readonly SessionEffect[]): SessionStep {
  return { state: { name: 'stopped', session }, effects }
}

function unchanged(state: SessionState): SessionStep {
  return { state, effects: [] }
}

function grown(lanes: flows.Lanes, { lane, nextSequence }: { lane: Lane; nextSequence: number }): flows.Lanes {
  const bounds = lanes[lane]
  return nextSequence <= bounds.nextSequence ? lanes : { ...lanes, [lane]: { ...bounds, nextSequence } }
}
