/** Does the cloud know this gateway: is it enrolled, for this id, with a key of its own and dates that hold. */

import { X509Certificate } from 'node:crypto'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import { dataPaths, type EdgeConfig } from '../../config.ts'
import { checkIssued, validityIn } from '../../identity/certificates.ts'
import { type EnrolledIdentity, IdentityFile } from '../../identity/identity-file.ts'
import { enrolled } from '../../identity/uplink-credentials.ts'
import { datesInWords, renewAtMs, stateAt } from '../../identity/validity.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** Findings about the enrolled identity; none where certificates come from elsewhere, which certificates.ts looks at. */
export function checkIdentity(config: EdgeConfig, nowMs: number): Finding[] {
  const { gateway, uplink } = config
  if (!uplink.enabled) return []
  if (uplink.insecure) {
    const hint = 'enrol it and set uplink.insecure to false before it leaves this machine'
    return [warn('identity', 'uplink.insecure: the cloud does not ask who this gateway is', hint)]
  }
  if (uplink.tls.certFile !== '') return []
  let identity: EnrolledIdentity
  try {
    // Refuses a file that others can read, too.
    identity = enrolled(new IdentityFile(dataPaths(config).identityDir), gateway.id)
  } catch (error) {
    if (!(error instanceof BusbarError)) throw error
    return [fail('identity', error.message, error.hint ?? 'enrol it: busbar-edge enroll')]
  }
  return [checkDates(identity, nowMs), checkKey(identity)]
}

function checkDates({ certificate }: EnrolledIdentity, nowMs: number): Finding {
  const validity = validityIn(certificate)
  if (validity === null) return fail('identity', 'its certificate cannot be read', 'busbar-edge enroll --replace')
  const dates = datesInWords(validity, nowMs)
  // A whole spread later than the earliest moment: before it nothing is late.
  switch (stateAt(validity, renewAtMs(validity, 1), nowMs)) {
    case 'good':
      return ok('identity', `enrolled; the certificate ends ${new Date(validity.notAfterMs).toISOString()}`)
    case 'due':
      return warn(
        'identity',
        `it should have been renewed: ${dates}`,
        'see that the uplink connects; busbar-edge status',
      )
    case 'notYetValid':
      return fail('identity', dates, 'check the clock')
    case 'expired':
      return fail(
        'identity',
        dates,
        'check the clock; if it is right, run the gateway to renew it, or enrol with --replace',
      )
  }
}

function checkKey({ certificate, authority, privateKey, gatewayId }: EnrolledIdentity): Finding {
  try {
    checkIssued({ certificate, authority }, privateKey, gatewayId)
    return ok('identity-key', `${new X509Certificate(certificate).subject.replaceAll('\n', ', ')}, with its key`)
  } catch (error) {
    const hint = 'enrol this gateway anew: busbar-edge enroll --replace'
    return fail('identity-key', `key and certificate do not belong together: ${messageOf(error)}`, hint)
  }
}
