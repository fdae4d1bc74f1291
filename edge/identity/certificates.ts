/** Certificates in PEM: reading them, and holding what the cloud answered against what was asked for. */

import { createHash, createPublicKey, X509Certificate } from 'node:crypto'
import { certificatesIn, isIssuedBy, type Validity, validityOf } from '../../shared/certificates.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'

/** Links of a chain that are followed; a real one has two or three. */
export const CHAIN_MAX = 8

/** All certificates of what the cloud answered, in order. @throws what the parser says, or when there is none. */
export function answeredCertificates(pem: string): X509Certificate[] {
  const certificates = certificatesIn(pem)
  if (certificates.length === 0) throw new Error('there is no certificate in it')
  return certificates
}

/** The dates of the first certificate in PEM; null when there is none that can be read. */
export function validityIn(pem: string | Uint8Array): Validity | null {
  try {
    return validityOf(new X509Certificate(Buffer.from(pem)))
  } catch {
    return null
  }
}

/** base64url of the SHA-256 of the certificate, as enrolment tokens carry it. */
export function fingerprintOf(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('base64url')
}

/** What the cloud answered to a request for a certificate. */
export interface IssuedCertificate {
  /** PEM: the certificate, then what leads to the authority. */
  readonly certificate: string
  /** PEM. */
  readonly authority: string
}

/**
 * That the certificate is for this gateway and this key, and that the authority signed it; returns its dates, which are the
 * caller's to judge, since the clock may be wrong.
 * @throws BusbarError CERTIFICATE_ANSWER_WRONG
 */
export function checkIssued(answer: IssuedCertificate, privateKey: string, gatewayId: string): Validity {
  let chain: X509Certificate[]
  let authorities: X509Certificate[]
  try {
    chain = answeredCertificates(answer.certificate)
    authorities = answeredCertificates(answer.authority)
  } catch (cause) {
    throw wrong(`it cannot be read: ${messageOf(cause)}`, cause)
  }
  const [own] = chain as [X509Certificate]
  const spki = { type: 'spki', format: 'der' } as const
  const ours = createPublicKey(privateKey).export(spki)
  if (!own.publicKey.export(spki).equals(ours)) throw wrong('it is for another key')
  const names = namesOf(own)
  if (names.length === 0 || names.some((name) => name !== gatewayId)) {
    throw wrong(`it is for ${names.join(' and ') || 'nobody'}, not for ${gatewayId}`)
  }
  if (!leadsTo(own, chain.slice(1), authorities)) throw wrong('its authority did not sign it')
  return validityOf(own)
}

/** Whether a chain leads from `own` over `between` to one of `authorities`. */
export function leadsTo(
  own: X509Certificate,
  between: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): boolean {
  let last = own
  for (let links = 0; links < CHAIN_MAX; links++) {
    const end = last
    if (authorities.some((authority) => authority.raw.equals(end.raw) || isIssuedBy(end, authority))) return true
    const next = between.find((candidate) => candidate.ca && candidate !== end && isIssuedBy(end, candidate))
    if (next === undefined) return false
    last = next
  }
  return false
}

const GATEWAY_URI = /^URI:urn:busbar:gateway:(.+)$/

/** Gateways that a certificate names: its common name, and the URIs beside it. */
function namesOf(certificate: X509Certificate): string[] {
  const commonName = /^CN=(.*)$/m.exec(certificate.subject)?.[1]
  const uris = (certificate.subjectAltName ?? '').split(', ').map((name) => GATEWAY_URI.exec(name)?.[1])
  return [commonName, ...uris].filter((name) => name !== undefined)
}

function wrong(why: string, cause?: unknown): BusbarError {
  return new BusbarError(`the cloud answered with a certificate that is not the one asked for: ${why}`, {
    code: 'CERTIFICATE_ANSWER_WRONG',
    retryable: true,
    hint: 'It was not taken. Look into the log of the cloud, and check who answers at its address.',
    ...(cause === undefined ? {} : { cause }),
  })
}
