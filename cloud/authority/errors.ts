/** What the authority refuses, as whoever asked may read it. */

import { BusbarError } from '../../shared/errors.ts'
import { IdentityError } from '../identity/identity.ts'

/** A certificate on the uplink that is not taken; `code` says why. */
export type CertificateRefusalCode =
  | 'CERTIFICATE_MISSING'
  | 'CERTIFICATE_UNREADABLE'
  | 'CERTIFICATE_UNKNOWN'
  | 'CERTIFICATE_UNTRUSTED'
  | 'CERTIFICATE_REVOKED'
  | 'CERTIFICATE_EXPIRED'
  | 'CERTIFICATE_OF_ANOTHER'
  | 'GATEWAY_WITHOUT_SITES'

export class CertificateRefusedError extends BusbarError {
  declare readonly code: CertificateRefusalCode

  constructor(code: CertificateRefusalCode, message: string, hint: string) {
    super(message, { code, hint })
    this.name = 'CertificateRefusedError'
  }
}

/** A token is none of ours, or was taken back; nothing more is told to whoever guesses. */
export function tokenInvalid(): IdentityError {
  return new IdentityError('FORBIDDEN', 'The enrolment token is not valid.', {
    code: 'ENROLMENT_TOKEN_INVALID',
    hint: 'Check that all of it was given, or make a new one: busbar-cloud gateway token <gateway>',
  })
}

export function tokenExpired(): IdentityError {
  return new IdentityError('FORBIDDEN', 'The enrolment token has expired.', {
    code: 'ENROLMENT_TOKEN_EXPIRED',
    hint: 'Make a new one: busbar-cloud gateway token <gateway>',
  })
}

export function tokenUsed(): IdentityError {
  return new IdentityError('CONFLICT', 'The enrolment token was redeemed already, with another key.', {
    code: 'ENROLMENT_TOKEN_USED',
    hint:
      'When this gateway did not do it, somebody else has its token: busbar-cloud gateway revoke <gateway> --all, ' +
      'then make a new token.',
  })
}

/** The request for a certificate cannot be granted as it is; asking again as before does not help. */
export function requestRefused(reason: string): IdentityError {
  return new IdentityError('CONFLICT', `The request for a certificate is refused: ${reason}.`, {
    code: 'CERTIFICATE_REQUEST_REFUSED',
    hint: 'Let busbar-edge make the key and the request.',
  })
}

/** The last one was given a moment ago: whoever lost it with its key is to wait, and is not at fault. */
export function renewedJustNow(periodMs: number): IdentityError {
  const seconds = Math.ceil(periodMs / 1_000)
  return new IdentityError('TOO_MANY_REQUESTS', `The gateway was given another certificate within ${seconds} s.`, {
    hint: 'Wait as long as Retry-After says.',
    retryAfter: seconds,
  })
}

/** Proof of the old key that proves nothing. */
export function proofInvalid(): IdentityError {
  return new IdentityError('FORBIDDEN', 'The certificate, the challenge or the signature is not valid.', {
    code: 'RENEWAL_PROOF_INVALID',
    hint: 'Ask for a new challenge and sign it with the key of the certificate; else the gateway needs a new token.',
  })
}

export function notRenewable(reason: string): IdentityError {
  return new IdentityError('FORBIDDEN', `The certificate is not renewed: ${reason}.`, {
    code: 'CERTIFICATE_NOT_RENEWABLE',
    hint: 'Make a token for the gateway: busbar-cloud gateway token <gateway>',
  })
}

export function notIssuing(): IdentityError {
  return new IdentityError('CONFLICT', 'This cloud makes no certificates: gateways bring theirs from elsewhere.', {
    code: 'AUTHORITY_CANNOT_ISSUE',
    hint: 'Have the certificate made by the authority that authority.certFile names, or set authority.keyFile.',
  })
}

/** A setting or a stored authority with which the core cannot start. */
export function authorityInvalid(message: string, hint: string, cause?: unknown): BusbarError {
  return new BusbarError(message, { code: 'AUTHORITY_INVALID', hint, cause })
}
