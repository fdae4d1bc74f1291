/** The certificates of a simulated uplink: each request has one end, and one is under way at most. */

import type { SessionEffect } from '../../edge/uplink/session-state.ts'
import type { SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'

export class SimulatedCertificates {
  asked = 0
  answered = 0
  /** By reason. */
  readonly unanswered: string[] = []
  /** Sent, and neither answered nor given up. */
  underWay = false

  note(effect: SessionEffect): void {
    if (effect.kind === 'requestCertificate') {
      if (this.underWay) throw new Error('two requests for a certificate at one time')
      this.underWay = true
      this.asked++
    } else if (effect.kind === 'certificateAnswered') {
      if (!this.underWay) throw new Error('an answer that nobody asked for')
      this.underWay = false
      this.answered++
    } else if (effect.kind === 'certificateUnanswered') {
      this.unanswered.push(effect.reason)
      if (effect.reason === 'sessionEnded' || effect.reason === 'timeout') {
        if (!this.underWay) throw new Error('gave up what was not under way')
        this.underWay = false
      }
    }
  }
}

export const CERTIFICATE_ANSWER: SessionResponse['message'] = {
  $case: 'certificateAnswer',
  value: { certificatePem: 'certificate', authorityPem: '', refusal: '' },
}
