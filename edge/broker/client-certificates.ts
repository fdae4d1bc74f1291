/**
 * Whom a client certificate is for, and whether it counts: signed by an authority of the site, not revoked, of today, and made
 * for a client. TLS has shown by then that the client has its key. The chain is judged here and not by the TLS library, which
 * knows neither the revocations nor that the time may be unknown.
 */

import type { X509Certificate } from 'node:crypto'
import { certificatesIn, isIssuedBy, validityOf } from '../../shared/certificates.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type CertificateName, nameAmong, nameOfUri, uriOf } from '../authority/certificate-name.ts'
import { knowsTheTime } from '../authority/known-time.ts'
import type { Revocations } from '../authority/revocations.ts'
import type { Identity } from './topic-rules.ts'

export type CertificateFault = 'unknown-authority' | 'revoked' | 'expired' | 'not-yet-valid' | 'certificate-unfit'

/** What remains of a certificate once it was judged, and is enough to judge it again. */
export interface CertificateProof {
  readonly kind: 'certificate'
  readonly number: string
  readonly uri: string | null
  /** Of the login that its common name says, where it carries no name of ours. */
  readonly username: string | null
}

export interface CertificateTrust {
  /** PEM of the site's own authority; null when it has none. */
  readonly siteAuthority: string | null
  /** PEM of those who sign certificates of clients besides it. A certificate that one of theirs signed in turn does not count. */
  readonly otherAuthorities: string
}

interface Authority {
  readonly certificate: X509Certificate
  readonly isSite: boolean
}

/** Extended key usage "TLS client authentication" (RFC 5280, 4.2.1.12). */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

export class ClientCertificates {
  private readonly authorities: readonly Authority[]
  private readonly revocations: Pick<Revocations, 'has' | 'reload'>

  /** @throws BusbarError CONFIG_CA_INVALID */
  constructor(trust: CertificateTrust, revocations: Pick<Revocations, 'has' | 'reload'>) {
    this.authorities = [
      ...authoritiesIn(trust.siteAuthority ?? '', true),
      ...authoritiesIn(trust.otherAuthorities, false),
    ]
    this.revocations = revocations
  }

  /** PEM of all authorities; clients are told these names when they are asked for a certificate. */
  get pem(): string[] {
    return this.authorities.map(({ certificate }) => certificate.toString())
  }

  /** @throws BusbarError REVOCATIONS_UNREADABLE */
  judge(certificate: X509Certificate, wallMs: number): CertificateProof | CertificateFault {
    const authority = this.authorities.find((each) => isIssuedBy(certificate, each.certificate))
    if (authority === undefined) return 'unknown-authority'
    const number = certificate.serialNumber.toUpperCase()
    // Looked at for each: whoever was just sent away is not let in for another second.
    this.revocations.reload()
    if (this.revocations.has(number)) return 'revoked'
    if (knowsTheTime(wallMs)) {
      for (const each of [certificate, authority.certificate]) {
        const { notBeforeMs, notAfterMs } = validityOf(each)
        if (wallMs < notBeforeMs) return 'not-yet-valid'
        // The last second belongs to it (RFC 5280, 4.1.2.5).
        if (!(wallMs < notAfterMs + 1000)) return 'expired'
      }
    }
    if (certificate.ca || !certificate.keyUsage?.includes(CLIENT_AUTH)) return 'certificate-unfit'
    const name = nameAmong(certificate.subjectAltName)
    if (name === 'ambiguous') return 'certificate-unfit'
    if (name !== null) return { kind: 'certificate', number, uri: uriOf(name), username: null }
    // Our own authority names everyone; others may know clients by names of their own.
    const username = authority.isSite ? null : commonName(certificate)
    return username === null ? 'certificate-unfit' : { kind: 'certificate', number, uri: null, username }
  }

  isRevoked(number: string): boolean {
    return this.revocations.has(number)
  }
}

/** Who is meant by a URI of ours. */
export function identityOfUri(uri: string): Identity | null {
  const name: CertificateName | null = nameOfUri(uri)
  if (name === null) return null
  return name.role === 'device' ? { ...name, username: name.serialNumber } : name
}

function commonName(certificate: X509Certificate): string | null {
  const names: unknown = certificate.toLegacyObject().subject?.CN
  return typeof names === 'string' && names !== '' ? names : null
}

function authoritiesIn(pem: string, isSite: boolean): Authority[] {
  const invalid = (why: string, cause?: unknown): BusbarError =>
    new BusbarError(`mqtt.tls.caFile holds ${why}`, {
      code: 'CONFIG_CA_INVALID',
      hint: 'Give the certificates of those who sign certificates of clients, in PEM.',
      cause,
    })
  if (pem === '') return []
  let certificates: X509Certificate[]
  try {
    certificates = certificatesIn(pem)
  } catch (error) {
    throw invalid(`something that is no certificate: ${messageOf(error)}`, error)
  }
  if (certificates.length === 0) throw invalid('no certificate')
  return certificates.map((certificate) => {
    if (!certificate.ca) throw invalid(`a certificate that may sign no other: ${certificate.subject}`)
    return { certificate, isSite }
  })
}
