/** Why an uplink session ended, in words an operator can act on. */

import { status } from '@grpc/grpc-js'
import { BusbarError, messageOf } from '../../shared/errors.ts'
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
    hint: 'Give this gateway a certificate that the cloud trusts, with gateway.id as its common name.',
  },
  [status.ABORTED]: {
    code: 'UPLINK_SUPERSEDED',
    hint: 'When this repeats, two gateways have the same gateway.id: give each its own.',
  },
}

/** The error for what ended a call. */
export function callFailure(error: unknown): BusbarError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null
  const details = typeof error === 'object' && error !== null && 'details' in error ? String(error.details) : ''
  const known = typeof code === 'number' ? BY_STATUS[code] : undefined
  return new BusbarError(`the stream to the cloud ended: ${details || messageOf(error)}`, {
    code: known?.code ?? 'UPLINK_FAILED',
    retryable: true,
    hint: known?.hint ?? 'It is dialled again by itself; when this repeats look into the log of the cloud.',
    cause: error,
  })
}

/** The error for a session that this side gave up. */
export function closeFailure(reason: Exclude<CloseReason, 'stopped'>): BusbarError {
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
