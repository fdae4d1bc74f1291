/**
 * The uplink protocol as a state machine without I/O: a state and an input give the next state and what to do. The
 * shell in uplink.ts does it. Nothing is acknowledged to the spool that the cloud did not acknowledge; whatever is
 * unacknowledged when a session ends is read and sent again in the next.
 *
 *     offline ─retryAt─▶ dialling ─dialled─▶ awaitingWelcome ─Welcome─▶ streaming ─stop─▶ stopping ─▶ stopped
 *        ▲                  │                      │                        │
 *        └──────────────────┴ stream ended, time-out, other certificates ───┘
 */

import type { SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Lane } from '../../shared/lanes.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import * as certificates from './certificate-exchange.ts'
import { FEEDS, type FeedName, withFailedRead, withItems } from './feed.ts'
import * as flows from './flow.ts'
import { heard, receipts } from './hearing.ts'
import {
  ackDeadline,
  type CloseReason,
  type Flowing,
  type SessionEffect,
  type SessionInput,
  type SessionRules,
  type SessionState,
  type SessionStep,
} from './session-state.ts'
import { laneOf, receivedOf } from './wire.ts'

/** What stopping still sends; the backlog waits on disk for the next start. */
const FINISHED_WHEN_STOPPING: readonly FeedName[] = ['priority', 'live']

/** A session that lasted longer was not ended by a time-out too short for its link. */
const CUT_SHORT_MS = 60_000
const PATIENCE_MAX = 32

/** One step of the protocol. @param now monotonic milliseconds. */
export function transition(state: SessionState, input: SessionInput, now: number, rules: SessionRules): SessionStep {
  if (input.kind === 'certificateWanted') return certificates.wanted(state, input.csrDer, now, rules)
  switch (state.name) {
    case 'offline':
      if (input.kind === 'stop') return stopped(state, [])
      if (input.kind === 'credentialsChanged') return dialling(state, 0, now)
      if (input.kind !== 'tick' || now < state.retryAt) return unchanged(state)
      return dialling(state, state.attempt, now)
    case 'dialling':
      if (input.kind !== 'dialled') return connecting(state, input, now, rules)
      return {
        state: {
          name: 'awaitingWelcome',
          session: state.session,
          patience: state.patience,
          attempt: state.attempt,
          since: state.since,
          helloAt: now,
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

function dialling({ session, patience }: SessionState, attempt: number, now: number): SessionStep {
  return {
    state: { name: 'dialling', session: session + 1, patience, attempt, since: now },
    effects: [{ kind: 'dial', patience }],
  }
}

type Connecting = Extract<SessionState, { name: 'dialling' | 'awaitingWelcome' }>
type Awaiting = Extract<SessionState, { name: 'awaitingWelcome' }>

function connecting(state: Connecting, input: SessionInput, now: number, rules: SessionRules): SessionStep {
  if (input.kind === 'stop') return stopped(state, [{ kind: 'close', reason: 'stopped' }])
  if (input.kind === 'streamEnded') return lost(state, now, rules, { timedOut: input.timedOut })
  if (input.kind === 'spoolReplaced') return lost(state, now, rules, { reason: 'spoolReplaced' })
  if (input.kind === 'credentialsChanged') return redialled(state, [], now)
  if (input.kind === 'tick' && now >= state.since + rules.connectTimeoutMs)
    return lost(state, now, rules, { reason: 'connectTimeout' })
  return unchanged(state)
}

function welcome(state: Awaiting, { message }: SessionResponse, now: number, rules: SessionRules): SessionStep {
  if (message?.$case !== 'welcome') return lost(state, now, rules, { reason: 'protocolError' })
  const { cursors, creditBytes, strictOrder, wallClockMs } = message.value
  const received = receivedOf(cursors)
  const effects: SessionEffect[] = [
    { kind: 'connected', strictOrder, cloudWallMs: wallClockMs, helloAt: state.helloAt },
  ]
  for (const cursor of cursors) {
    const lane = laneOf(cursor.lane)
    if (lane === null) {
      effects.push({ kind: 'odd', oddity: 'unknownLane' })
      continue
    }
    // The cloud has records that this spool has not drawn yet: the spool is older than what it sent, as after restoring
    // a disk image. Its new records would take sequences that the cloud drops as duplicates.
    const beyond = cursor.received.some(({ last }) => last >= state.lanes[lane].nextSequence)
    if (beyond) return lost(state, now, rules, { reason: 'spoolRolledBack' })
    if (cursor.received.length > 0)
      effects.push({
        kind: 'acknowledge',
        lane,
        ranges: cursor.received,
        records: 0,
      })
  }
  const flow = flows.openFlow(state.lanes, { received, credit: creditBytes, strictOrder }, rules)
  const { session, patience, attempt } = state
  const streaming: Flowing = {
    name: 'streaming',
    session,
    patience,
    attempt,
    since: now,
    flow,
    heardAt: now,
    reportAt: now,
    certificateBy: null,
    redialBy: null,
  }
  return proceed(streaming, effects, now, rules)
}

function admitted(
  state: Flowing,
  input: Exclude<SessionInput, { kind: 'certificateWanted' }>,
  now: number,
  rules: SessionRules,
): SessionStep {
  const effects: SessionEffect[] = []
  switch (input.kind) {
    case 'message':
      return proceed(heard({ ...state, heardAt: now }, input.response, rules, effects), effects, now, rules)
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
    case 'commandsTaken':
      // Receipts belong to the session of their commands; another one is handed the commands again.
      return input.session === state.session ? { state, effects: receipts(input) } : unchanged(state)
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
      if (state.flow.outstanding.length > 0 && now >= ackDeadline(state, rules))
        return lost(state, now, rules, { reason: 'ackTimeout', timedOut: true })
      return proceed(certificates.overdue(state, now, effects), effects, now, rules)
    case 'streamEnded':
      return lost(state, now, rules, { timedOut: input.timedOut })
    case 'spoolReplaced':
      return lost(state, now, rules, { reason: 'spoolReplaced' })
    case 'credentialsChanged':
      if (state.name === 'stopping' || state.redialBy !== null) return unchanged(state)
      return proceed({ ...state, redialBy: now + rules.stopTimeoutMs }, effects, now, rules)
    case 'stop':
      if (state.name === 'stopping') return unchanged(state)
      return proceed({ ...state, name: 'stopping', stopAt: now + rules.stopTimeoutMs }, effects, now, rules)
    case 'dialled':
      return unchanged(state)
  }
}

/** Reads, sends and reports whatever is due. */
function proceed(state: Flowing, effects: SessionEffect[], now: number, rules: SessionRules): SessionStep {
  if (state.name === 'streaming' && state.redialBy !== null) {
    const settled = state.flow.outstanding.length === 0
    return settled || now >= state.redialBy ? redialled(state, effects, now) : { state, effects }
  }
  const idle = state.flow.outstanding.length === 0
  const { flow: afterSends, sent } = flows.sendBurst(state.flow, rules, now)
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

/** Why a session is over: `reason` when this side ends it, `timedOut` when an answer did not come in time. */
interface Loss {
  readonly reason?: CloseReason
  readonly timedOut?: boolean
}

/** Offline after a session ended. */
function lost(state: Connecting | Flowing, now: number, rules: SessionRules, loss: Loss): SessionStep {
  const effects = certificates.abandoned(state)
  if (loss.reason !== undefined) effects.push({ kind: 'close', reason: loss.reason })
  if (state.name === 'stopping') return stopped({ ...state, certificateBy: null }, effects)
  // A session that lasted was progress too, even when there was nothing to send.
  const lasted = state.name === 'streaming' && now - state.since > rules.backoff.capMs
  const attempt = lasted ? 0 : state.attempt
  const retryAt = now + fullJitterMs(attempt, rules.backoff, rules.random)
  return {
    state: {
      name: 'offline',
      session: state.session,
      patience: patienceAfter(state, now, loss.timedOut === true),
      attempt: attempt + 1,
      retryAt,
    },
    effects,
  }
}

/** Offline for a moment, to dial with other certificates. What is not acknowledged is sent again. */
function redialled(state: Connecting | Flowing, effects: readonly SessionEffect[], now: number): SessionStep {
  const { session, patience } = state
  return {
    state: { name: 'offline', session, patience, attempt: 0, retryAt: now },
    effects: [...effects, ...certificates.abandoned(state), { kind: 'close', reason: 'credentialsChanged' }],
  }
}

/**
 * Grows while time-outs cut sessions short with data on its way, and is forgotten once a session was not cut short. One
 * that the cloud ended, as when it restarts, says nothing about the link.
 */
function patienceAfter(state: Connecting | Flowing, now: number, timedOut: boolean): number {
  if (state.name !== 'streaming') return state.patience
  const cutShort = state.flow.outstanding.length > 0 && now - state.since < CUT_SHORT_MS
  if (!cutShort) return 1
  return timedOut ? Math.min(state.patience * 2, PATIENCE_MAX) : state.patience
}

function stopped(state: SessionState, effects: readonly SessionEffect[]): SessionStep {
  const { session, patience } = state
  return { state: { name: 'stopped', session, patience }, effects: [...certificates.abandoned(state), ...effects] }
}

function unchanged(state: SessionState): SessionStep {
  return { state, effects: [] }
}

function grown(lanes: flows.Lanes, { lane, nextSequence }: { lane: Lane; nextSequence: number }): flows.Lanes {
  const bounds = lanes[lane]
  return nextSequence <= bounds.nextSequence ? lanes : { ...lanes, [lane]: { ...bounds, nextSequence } }
}
