/** Why an uplink session ended, in words an operator can act on. */

import { status } from '@grpc/grpc-js'
import type { Validity } from '../../shared/certificates.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { validityIn } from '../identity/certificates.ts'
import { tlsFailureIn } from '../identity/tls-failure.ts'
import { datesInWords } from '../identity/validity.ts'
import type { UplinkTarget } from './options.ts'
import type { CloseReason } from './session-state.ts'

interface Explanation {
  readonly code: string
  readonly hint: string
}

const BY_STATUS: Readonly<Partial<Record<number, Explanation>>> = {
  [status.UNAVAILABLE]: {
    code: 'UPLINK_UNREACHABLE',
    hint: 'Nothing is lost: records wait on disk. Check the network, uplink.address and that the cloud listens there.',
  },
  [status.PERMISSION_DENIED]: {
    code: 'UPLINK_REFUSED',
    hint: 'Register this gateway in the cloud, or correct gateway.id.',
  },
  [status.UNAUTHENTICATED]: {
    code: 'UPLINK_REFUSED',
    hint: 'The gateway may be revoked, or its certificate be of another: a new token enrols it again (busbar-edge enroll).',
  },
  [status.ABORTED]: {
    code: 'UPLINK_SUPERSEDED',
    hint: 'When this repeats, two gateways have the same gateway.id: give each its own.',
  },
}

/** What was dialled, and what the clock says, for an error that has to do with certificates. */
export interface DialContext {
  readonly target: UplinkTarget | null
  readonly nowWallMs: number
}

/** The error for what ended a call. */
export function callFailure(error: unknown, context: DialContext): BusbarError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null
  const details = typeof error === 'object' && error !== null && 'details' in error ? String(error.details) : ''
  const known = typeof code === 'number' ? BY_STATUS[code] : undefined
  const certificates = code === status.UNAVAILABLE ? certificateFailure(details, context) : null
  if (certificates !== null)
    return new BusbarError(certificates.said, { ...certificates, retryable: true, cause: error })
  return new BusbarError(`the stream to the cloud ended: ${details || messageOf(error)}`, {
    code: known?.code ?? 'UPLINK_FAILED',
    retryable: true,
    hint: known?.hint ?? 'It is dialled again by itself; when this repeats look into the log of the cloud.',
    cause: error,
  })
}

/** Null when it was not the certificates that kept the two sides apart, as far as this side can tell. */
function certificateFailure(
  details: string,
  { target, nowWallMs }: DialContext,
): (Explanation & { said: string }) | null {
  const tls = target?.tls
  if (target === null || tls === undefined) return null
  const own = tls.cert === undefined ? null : validityIn(tls.cert)
  const failure = tlsFailureIn(details)
  const usable = own === null || (own.notBeforeMs <= nowWallMs && nowWallMs <= own.notAfterMs)
  if (failure !== null && failure.code !== 'REFUSED') {
    const dates = failure.code === 'DATES' ? `: ${clockInWords(own, nowWallMs)}` : ''
    const said = `what answers at ${target.address} ${failure.said}${dates}`
    return { code: `UPLINK_${failure.code}`, said, hint: failure.hint }
  }
  // A server that does not take a certificate often only closes the connection, which alone would say nothing.
  const closed = details.includes('Failed to connect')
  if (own !== null && !usable && (failure !== null || closed)) {
    return {
      code: 'UPLINK_CERTIFICATE_DATES',
      said: `the cloud does not take the certificate of this gateway: ${datesInWords(own, nowWallMs)}`,
      hint: 'Check the clock. If it is right: a certificate from enrolment is renewed by itself for a while, then needs a new token.',
    }
  }
  if (failure === null) return null
  return { code: 'UPLINK_REFUSED', said: `the cloud at ${target.address} ${failure.said}`, hint: failure.hint }
}

function clockInWords(own: Validity | null, nowWallMs: number): string {
  return own === null ? `it says ${new Date(nowWallMs).toISOString()}` : datesInWords(own, nowWallMs)
}

/** The error for a session that this side gave up. */
export function closeFailure(reason: Exclude<CloseReason, 'stopped' | 'credentialsChanged'>): BusbarError {
  switch (reason) {
    case 'connectTimeout':
      return new BusbarError('the cloud did not answer in time', {
        code: 'UPLINK_TIMEOUT',
        retryable: true,
        hint: 'Check that uplink.address is the ingest of the cloud and that no firewall drops its packets.',
      })
    case 'ackTimeout':
      return new BusbarError('the cloud acknowledged nothing in time', {
        code: 'UPLINK_STALLED',
        retryable: true,
        hint: 'Look at the health of the cloud: its bus or its database may be down.',
      })
    case 'protocolError':
      return new BusbarError('what answers does not speak the protocol of the uplink', {
        code: 'UPLINK_PROTOCOL',
        retryable: true,
        hint: 'Check that uplink.address is the ingest of the cloud and that both sides have matching versions.',
      })
    case 'spoolReplaced':
      return new BusbarError('the spool was damaged and a new one begun', {
        code: 'UPLINK_SPOOL_REPLACED',
        retryable: true,
        hint: 'It is dialled again by itself. Check the disk: the damaged spool was set aside beside the new one.',
      })
    case 'spoolRolledBack':
      return new BusbarError('the cloud already has records that this spool has not stored yet', {
        code: 'UPLINK_SPOOL_ROLLED_BACK',
        hint: 'The disk was restored from an older image: move the spool directory away so that a new spool is begun.',
      })
  }
}
