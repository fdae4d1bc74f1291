/**
 * How the next certificate is asked for within a session. Pure; the rest of the session is in session.ts. One request is
 * under way at most, and each ends in exactly one effect: answered, or unanswered with the reason.
 */

import type { CertificateAnswer } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Flowing, SessionEffect, SessionRules, SessionState, SessionStep } from './session-state.ts'

/** Sends the request when the session is one that lasts. */
export function wanted(state: SessionState, csrDer: Buffer, now: number, rules: SessionRules): SessionStep {
  const connected = state.name === 'streaming' && state.redialBy === null
  if (!connected) return { state, effects: [{ kind: 'certificateUnanswered', reason: 'notConnected' }] }
  if (state.certificateBy !== null) return { state, effects: [{ kind: 'certificateUnanswered', reason: 'underWay' }] }
  return {
    state: { ...state, certificateBy: now + rules.certificateTimeoutMs },
    effects: [{ kind: 'requestCertificate', csrDer }],
  }
}

/** The cloud answered; an answer that nobody waits for any more is odd, and its key is gone. */
export function answered(state: Flowing, answer: CertificateAnswer, effects: SessionEffect[]): Flowing {
  if (state.certificateBy === null) {
    effects.push({ kind: 'odd', oddity: 'unexpectedMessage' })
    return state
  }
  effects.push({ kind: 'certificateAnswered', answer })
  return { ...state, certificateBy: null }
}

/** Gives up waiting when it is time to. A cloud of an older version does not know the request. */
export function overdue(state: Flowing, now: number, effects: SessionEffect[]): Flowing {
  if (state.certificateBy === null || now < state.certificateBy) return state
  effects.push({ kind: 'certificateUnanswered', reason: 'timeout' })
  return { ...state, certificateBy: null }
}

/** What follows for a request when the session of `state` ends. */
export function abandoned(state: SessionState): SessionEffect[] {
  const underWay = 'certificateBy' in state && state.certificateBy !== null
  return underWay ? [{ kind: 'certificateUnanswered', reason: 'sessionEnded' }] : []
}
