/** Enrolment tokens: what the cloud gave to whoever enrols this gateway, good once and for a while. */

import { BusbarError } from '../../shared/errors.ts'

export interface EnrolmentToken {
  /** Whole, as the cloud takes it. */
  readonly text: string
  /** Not secret. */
  readonly id: string
  /** base64url of the SHA-256 of the authority's certificate: by it the authority is known before it is trusted. */
  readonly authorityFingerprint: string
}

/** `bbe.<id>.<secret>.<fingerprint>` */
const PATTERN = /^bbe\.([A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{16,256}\.([A-Za-z0-9_-]{43})$/

/** @param text white space around it does not count. @throws BusbarError ENROLMENT_TOKEN_MALFORMED, which does not quote it. */
export function parseToken(text: string): EnrolmentToken {
  const trimmed = text.trim()
  const [, id, authorityFingerprint] = PATTERN.exec(trimmed) ?? []
  if (id !== undefined && authorityFingerprint !== undefined) return { text: trimmed, id, authorityFingerprint }
  throw new BusbarError('this is no enrolment token, or only a part of one', {
    code: 'ENROLMENT_TOKEN_MALFORMED',
    hint: 'Copy it whole: it begins with "bbe." and has four parts. `busbar-cloud gateway token <gateway>` makes a new one.',
  })
}
