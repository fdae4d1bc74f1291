/** A request for a certificate as a promise, for whoever asks the uplink for one. */

import type { CertificateAnswer } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { NoCertificate } from './session-state.ts'

/** PEM, as the cloud sent it. */
export interface CertifiedAnswer {
  readonly certificate: string
  /** What the cloud is to be trusted by from now on; empty for no change. */
  readonly authority: string
}

const REASONS: Readonly<Record<NoCertificate | 'notNow', string>> = {
  notConnected: 'there is no connection to the cloud',
  underWay: 'another request is under way',
  sessionEnded: 'the connection ended before the answer',
  timeout: 'the cloud did not answer in time',
  notNow: 'the cloud cannot make one at present; its log says why',
}

export class CertificateRequests {
  private waiting: PromiseWithResolvers<CertifiedAnswer> | null = null

  /** @param send puts the request to the session, which answers by one of the methods below, perhaps at once. */
  ask(send: () => void): Promise<CertifiedAnswer> {
    if (this.waiting !== null) return Promise.reject(unanswered('underWay'))
    const waiting = Promise.withResolvers<CertifiedAnswer>()
    this.waiting = waiting
    send()
    return waiting.promise
  }

  answered({ certificatePem, authorityPem, refusal }: CertificateAnswer): void {
    const { waiting } = this
    this.waiting = null
    if (certificatePem !== '') waiting?.resolve({ certificate: certificatePem, authority: authorityPem })
    else waiting?.reject(refusal === '' ? unanswered('notNow') : refused(refusal))
  }

  unanswered(reason: NoCertificate): void {
    const { waiting } = this
    this.waiting = null
    waiting?.reject(unanswered(reason))
  }
}

function refused(refusal: string): BusbarError {
  return new BusbarError(`the cloud gives this gateway no new certificate: ${refusal}`, {
    code: 'CERTIFICATE_REFUSED',
    hint: 'Look into the log of the cloud; when the certificate ends, a new enrolment token is needed.',
  })
}

function unanswered(reason: NoCertificate | 'notNow'): BusbarError {
  return new BusbarError(`no new certificate yet: ${REASONS[reason]}`, {
    code: 'CERTIFICATE_UNANSWERED',
    retryable: true,
    hint: 'It is asked for again by itself.',
  })
}
