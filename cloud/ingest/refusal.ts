/** Why the cloud ends a gateway's stream; the gateway sees both parts. */

import { status } from '@grpc/grpc-js'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type CertificateRefusalCode, CertificateRefusedError } from '../authority/authority.ts'

export interface Refusal {
  readonly code: status
  readonly details: string
}

export function invalidArgument(details: string): Refusal {
  return { code: status.INVALID_ARGUMENT, details }
}

/** Known for who it is, and not let in for that. */
const FORBIDDEN: readonly CertificateRefusalCode[] = ['CERTIFICATE_OF_ANOTHER', 'GATEWAY_WITHOUT_SITES']

/** What the gateway is told of something that was thrown. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof RefusalError) return error.refusal
  if (!(error instanceof BusbarError)) return { code: status.INTERNAL, details: messageOf(error) }
  const details = error.hint === undefined ? error.message : `${error.message}: ${error.hint}`
  if (error instanceof CertificateRefusedError) {
    return { code: FORBIDDEN.includes(error.code) ? status.PERMISSION_DENIED : status.UNAUTHENTICATED, details }
  }
  if (error.code === 'GATEWAY_NOT_REGISTERED') return { code: status.PERMISSION_DENIED, details }
  return {
    code: error.retryable ? status.UNAVAILABLE : status.INTERNAL,
    details,
  }
}

/** Thrown while a gateway is being admitted. */
export class RefusalError extends Error {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    super(refusal.details)
    this.refusal = refusal
  }
}
