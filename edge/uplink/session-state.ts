/**
 * The vocabulary of an uplink session: its states, what may happen to it, and what it asks the shell to do. The
 * transitions between them are in session.ts.
 */

import type { CertificateAnswer, Command, SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Random } from '../../shared/random.ts'
import type { BackoffPolicy } from '../../shared/retry.ts'
import type { SpoolItem } from '../spool/item.ts'
import type { FeedName } from './feed.ts'
import * as flows from './flow.ts'

/** Everything that times or bounds a session. Times in milliseconds of the monotonic clock. */
export interface SessionRules extends flows.FlowRules {
  readonly backoff: BackoffPolicy
  /** From dialling to Welcome. */
  readonly connectTimeoutMs: number
  /** Standstill of the link while something is unacknowledged. */
  readonly ackTimeoutMs: number
  /** How often a BacklogReport goes up. */
  readonly backlogReportMs: number
  /** How long stopping goes on sending and waits for acknowledgements; how long redialling waits for them. */
  readonly stopTimeoutMs: number
  /** From asking for a certificate to the answer. */
  readonly certificateTimeoutMs: number
  /** Whether there is an inbox for commands. */
  readonly takesCommands: boolean
  readonly random: Random
}

interface Admitted {
  readonly attempt: number
  readonly since: number
  readonly flow: flows.Flow
  /** When the link last showed progress: the cloud said something, or the transport took what was sent. */
  readonly heardAt: number
  readonly reportAt: number
  /** When a certificate that was asked for counts as not answered; null when none is. */
  readonly certificateBy: number | null
  /** Nothing more is sent; when all is acknowledged, or by then at last, it is dialled anew. Null when there is no need. */
  readonly redialBy: number | null
}

/** What every state keeps. */
interface Lasting {
  /** Counts dials, so that what belongs to an earlier one can be told apart. */
  readonly session: number
  /**
   * Factor on the time-outs that tell a dead link, at least 1. Over a slow link an answer waits behind the data on its
   * way; a time-out shorter than that would end every session before its first acknowledgement.
   */
  readonly patience: number
}

export type SessionState = Lasting &
  (
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
        /** When Hello was sent. */
        readonly helloAt: number
        readonly lanes: flows.Lanes
      }
    | ({ readonly name: 'streaming' } & Admitted)
    | ({ readonly name: 'stopping'; readonly stopAt: number } & Admitted)
    | { readonly name: 'stopped' }
  )

/** A session that was admitted and has not ended. */
export type Flowing = Extract<SessionState, { name: 'streaming' | 'stopping' }>

export type SessionInput =
  | { readonly kind: 'tick' }
  /** The connection is up; `lanes` is what the spool holds now. */
  | { readonly kind: 'dialled'; readonly lanes: flows.Lanes }
  | { readonly kind: 'message'; readonly response: SessionResponse }
  /** `timedOut` when this side's keepalive gave the connection up; otherwise the other side, or its machine, ended it. */
  | { readonly kind: 'streamEnded'; readonly timedOut: boolean }
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
  /** The inbox has answered for commands of a session. */
  | {
      readonly kind: 'commandsTaken'
      readonly session: number
      readonly stored: readonly string[]
      readonly refused: readonly string[]
    }
  /** The transport takes more. */
  | { readonly kind: 'writable' }
  /** There are other certificates or another address to dial with. */
  | { readonly kind: 'credentialsChanged' }
  /** A certificate is to be asked for; what becomes of it is told by `certificateAnswered` or `certificateUnanswered`. */
  | { readonly kind: 'certificateWanted'; readonly csrDer: Buffer }
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
  | 'credentialsChanged'

/** Why a certificate that was asked for does not come. */
export type NoCertificate = 'notConnected' | 'underWay' | 'sessionEnded' | 'timeout'

/** What the cloud said that this session did not expect. */
export type Oddity = 'unknownLane' | 'strayAck' | 'unexpectedMessage'

export type SessionEffect =
  | { readonly kind: 'dial'; readonly patience: number }
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
  /** For the inbox; its answer is `commandsTaken` of the same session. */
  | { readonly kind: 'takeCommands'; readonly session: number; readonly commands: readonly Command[] }
  | { readonly kind: 'cancelCommands'; readonly commandIds: readonly string[] }
  | { readonly kind: 'receipts'; readonly stored: readonly string[]; readonly refused: readonly string[] }
  | { readonly kind: 'requestCertificate'; readonly csrDer: Buffer }
  | { readonly kind: 'certificateAnswered'; readonly answer: CertificateAnswer }
  | { readonly kind: 'certificateUnanswered'; readonly reason: NoCertificate }
  | { readonly kind: 'close'; readonly reason: CloseReason }
  | {
      readonly kind: 'connected'
      readonly strictOrder: boolean
      readonly cloudWallMs: number
      /** When Hello was sent, monotonic: the cloud's clock said `cloudWallMs` at that moment or later. */
      readonly helloAt: number
    }
  | {
      readonly kind: 'cloudTime'
      readonly cloudWallMs: number
      /** When that was sent to which this is the answer, monotonic: the clock said `cloudWallMs` at that moment or later. */
      readonly since: number
    }
  | { readonly kind: 'odd'; readonly oddity: Oddity }

export interface SessionStep {
  readonly state: SessionState
  readonly effects: readonly SessionEffect[]
}

/** The state before the first dial, which is due at once. */
export function initialState(now: number): SessionState {
  return { name: 'offline', session: 0, patience: 1, attempt: 0, retryAt: now }
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
      const redialling = state.name === 'streaming' ? state.redialBy : null
      let at = redialling ?? (state.name === 'stopping' ? state.stopAt : state.reportAt)
      if (state.flow.outstanding.length > 0) at = Math.min(at, ackDeadline(state, rules))
      at = Math.min(at, state.certificateBy ?? at)
      // Nothing is read any more before redialling.
      return redialling === null ? Math.min(at, flows.nextRetryAt(state.flow) ?? at) : at
    }
    case 'stopped':
      return null
  }
}

/** When a session with something unacknowledged counts as dead, monotonic milliseconds. */
export function ackDeadline(state: Lasting & { readonly heardAt: number }, rules: SessionRules): number {
  return state.heardAt + rules.ackTimeoutMs * state.patience
}
