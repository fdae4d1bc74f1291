/** How the certificate of this gateway stands, for health, metrics and people. Pure. */

import type { Validity } from '../../shared/certificates.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { datesInWords, stateAt } from './validity.ts'

export const CERTIFICATE_STATES = ['none', 'good', 'renewing', 'notYetValid', 'expired', 'refused'] as const
export type CertificateState = (typeof CERTIFICATE_STATES)[number]

export interface CertificateStatus {
  /** From `busbar-edge enroll`, from uplink.tls, or none because of uplink.insecure. */
  readonly source: 'enrolment' | 'files' | 'none'
  /** `none`: there is none. `renewing`: the next one is due. `refused`: the cloud does not take it, or gives no other. */
  readonly state: CertificateState
  /** ISO 8601; null when there is none. */
  readonly notBefore: string | null
  readonly notAfter: string | null
  /** Below zero when it has ended. */
  readonly daysLeft: number | null
  readonly lastRenewalError: string | null
  /** Certificates that this process got. */
  readonly renewals: number
  /** What is wrong and what to do; null when nothing is. */
  readonly advice: string | null
}

export interface CertificateFacts {
  readonly source: CertificateStatus['source']
  readonly validity: Validity | null
  /** When it is to be renewed; null when that is others' work. */
  readonly renewAtMs: number | null
  readonly nowMs: number
  readonly lastRenewalError: string | null
  /** Whether the cloud said no, when asked for the next one. */
  readonly renewalRefused: boolean
  readonly renewals: number
  readonly uplink: {
    readonly connected: boolean
    readonly lastErrorCode: string | null
    readonly lastError: string | null
  }
}

export function certificateStatus(facts: CertificateFacts): CertificateStatus {
  const { source, validity, nowMs, lastRenewalError, renewals } = facts
  const state = stateOf(facts)
  return {
    source,
    state,
    notBefore: validity === null ? null : new Date(validity.notBeforeMs).toISOString(),
    notAfter: validity === null ? null : new Date(validity.notAfterMs).toISOString(),
    daysLeft: validity === null ? null : Math.floor(((validity.notAfterMs - nowMs) / DAY_MS) * 10) / 10,
    lastRenewalError,
    renewals,
    advice: adviceFor(state, facts),
  }
}

function stateOf({ validity, renewAtMs, nowMs, renewalRefused, uplink }: CertificateFacts): CertificateState {
  if (validity === null) return 'none'
  if (renewalRefused) return 'refused'
  const state = stateAt(validity, renewAtMs ?? Number.POSITIVE_INFINITY, nowMs)
  // Dates say more than that it is not taken because of them.
  if (state === 'expired' || state === 'notYetValid') return state
  const isTaken = uplink.connected || uplink.lastErrorCode !== 'UPLINK_REFUSED'
  if (!isTaken) return 'refused'
  return state === 'due' ? 'renewing' : state
}

function adviceFor(state: CertificateState, facts: CertificateFacts): string | null {
  const { source, validity, nowMs, lastRenewalError, uplink } = facts
  switch (state) {
    case 'none':
      if (source === 'none') return null
      return uplink.lastError ?? (source === 'enrolment' ? 'not enrolled: run busbar-edge enroll' : null)
    case 'good':
      return null
    case 'renewing':
      return lastRenewalError
    case 'notYetValid':
      return `${datesInWords(validity as Validity, nowMs)}: check the clock`
    case 'expired': {
      const dates = datesInWords(validity as Validity, nowMs)
      if (source === 'files') return `${dates}: check the clock; if it is right, renew uplink.tls.certFile`
      return `${dates}: check the clock; if it is right, it is being renewed${lastRenewalError === null ? '' : ` (${lastRenewalError})`}`
    }
    case 'refused': {
      const why = lastRenewalError ?? uplink.lastError ?? 'the cloud does not take it'
      return source === 'files'
        ? why
        : `${why}; if the cloud is right, a new token is needed: busbar-edge enroll --replace`
    }
  }
}
